"""transformers on PyTorch's CPU kernels, from the checkpoint folder itself.

Any causal language model; images for models of LLaVA's build (tower, projector, language model),
one square tile, as the others are given.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image

from edge_et.errors import BackendError, InferenceFailed, InputError, LoadFailed
from edge_et_bench.adapters import Request
from edge_et_bench.peers import one_model
from edge_et_bench.peers.one_model import Laps
from edge_et_bench.records import Configuration, Demand, Outcome, Used

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class TransformersCpu:
    """Options: `checkpoint`, a folder; `dtype`, fp32 or bf16."""

    def __init__(self, configuration: Configuration) -> None:
        if configuration.device == "cuda":
            raise InputError("this peer is PyTorch on the CPU", hint="--device cpu")
        self._folder = one_model.path_option(configuration, "checkpoint")
        self._precision = one_model.option(configuration, "dtype")
        if self._precision not in _DTYPES:
            raise InputError(f"dtype {self._precision!r} is none of {', '.join(_DTYPES)}")
        self._threads = one_model.threads_of(configuration)
        torch.set_num_threads(self._threads)
        self._model: Any = None
        self._tokenizer: Any = None

    def files(self) -> tuple[Path, ...]:
        return tuple(sorted(self._folder.glob("*.safetensors")))

    def load(self) -> None:
        try:
            config = transformers.AutoConfig.from_pretrained(self._folder)
            sees = hasattr(config, "vision_config")
            kind = "AutoModelForImageTextToText" if sees else "AutoModelForCausalLM"
            self._model = getattr(transformers, kind).from_pretrained(
                self._folder, dtype=_DTYPES[self._precision], local_files_only=True
            )
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(self._folder)
        except (OSError, ValueError, KeyError) as exc:
            raise LoadFailed(f"transformers cannot load {self._folder}: {exc}") from exc
        self._model.eval()

    def used(self) -> Used:
        parts = [
            one_model.part(file, role="checkpoint", precision=self._precision)
            for file in self.files()
        ]
        return one_model.used(
            self._folder.name, device="cpu", threads=self._threads, parts=tuple(parts)
        )

    def ask(self, request: Request) -> Outcome:
        if self._model is None:
            raise InputError("the model is not loaded")
        count = one_model.new_tokens(request)
        with torch.inference_mode():
            try:
                return self._ask(request, count)
            except RuntimeError as exc:
                raise InferenceFailed(f"PyTorch failed: {exc}") from exc

    def demands(self, outcome: Outcome) -> tuple[Demand, ...]:
        return ()

    def close(self) -> None:
        self._model = None

    def _ask(self, request: Request, count: int) -> Outcome:
        laps = Laps()
        embeddings = self._prompt(request, laps)
        step = self._step(inputs_embeds=embeddings)
        token = step.logits[:, -1].argmax(-1, keepdim=True)
        laps.first_token()
        laps.end("extract_prefill", tokens=embeddings.shape[1])
        written = [token]
        for _ in range(count - 1):
            step = self._step(input_ids=token, past_key_values=step.past_key_values)
            token = step.logits[:, -1].argmax(-1, keepdim=True)
            written.append(token)
        laps.end("extract_decode", tokens=count, steps=count - 1)
        outcome = laps.outcome(finish_reason="extraction_length")
        ids = torch.cat(written, dim=1)[0]
        return replace(outcome, answer=self._tokenizer.decode(ids, skip_special_tokens=True))

    def _step(self, **inputs: Any) -> Any:
        return self._model(**inputs, use_cache=True, logits_to_keep=1)

    def _prompt(self, request: Request, laps: Laps) -> Any:
        """Return the prompt's embeddings [1, tokens, hidden]."""
        table = self._model.get_input_embeddings()
        if request.prompt_tokens is not None:
            ids = one_model.prompt_ids(
                request.prompt_tokens, vocab_size=table.num_embeddings, seed=request.seed
            )
            return table(torch.tensor([ids]))
        if not hasattr(self._model.config, "vision_config"):
            one_model.needed_prompt(request)  # refuses
        pixels = self._tile(request.image)
        laps.end("image")
        features = self._features(pixels)
        laps.end("vision", tokens=features.shape[1], steps=1)
        text = self._tokenizer(request.question, add_special_tokens=False, return_tensors="pt")
        return torch.cat([features, table(text.input_ids)], dim=1)

    def _features(self, pixels: Any) -> Any:
        """Encode a tile [1, 3, S, S] into [1, tokens, hidden]."""
        inner, config = self._model.model, self._model.config
        if not hasattr(inner, "multi_modal_projector"):
            raise BackendError(
                f"this peer knows no image path of {type(self._model).__name__}",
                hint="take a workload with prompt_tokens: --workload language-half",
            )
        hidden = inner.vision_tower(pixels, output_hidden_states=True).hidden_states
        return inner.multi_modal_projector(hidden[config.vision_feature_layer])

    def _tile(self, data: bytes) -> Any:
        """Return the image in the tower's square, in [-1, 1] as SigLIP wants it."""
        side = self._model.config.vision_config.image_size
        with Image.open(io.BytesIO(data)) as image:
            square = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        pixels = torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8)
        scaled = pixels.view(1, side, side, 3).permute(0, 3, 1, 2) / 127.5 - 1
        return scaled.to(_DTYPES[self._precision])
