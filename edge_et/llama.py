"""Models and contexts of llama.cpp: weights, tokens, KV cache, samplers.

Its low-level calls are used: the high-level class has no thinking budget and copies logits. Knows
no prompts and no chat.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edge_et.config import SamplingConfig
from edge_et.errors import (
    Cancelled,
    InferenceFailed,
    LoadFailed,
)
from edge_et.gguf_header import GGUFHeader
from edge_et.llama_grammar import Grammar
from edge_et.llama_library import (
    UsedDevice,
    are_relaid,
    complaints,
    forget_errors,
    relays,
    runtime,
)
from edge_et.reflexive import NO_IDS, IntArray
from edge_et.token_model import Nudge

_BATCH_TOKENS = 512
BLOCK_TOKENS = 64
"""Prompts are read in whole blocks, in batches of one or several, and then the rest by itself. What
a block leaves in the KV cache does not depend on the batch it was in (ggml's attention takes tiles
of 64 rows, and another path below that), so kept blocks change no bit of what follows."""
_CONTEXT_STEP_TOKENS = 256
"""llama.cpp rounds contexts up to this."""
_ABORTED = 2


class Model:
    """The weights and the vocabulary of one GGUF file."""

    def __init__(self, header: GGUFHeader, device: UsedDevice, gpu_layers: int = 0) -> None:
        """Raises LoadFailed."""
        self.path, self.device, self.gpu_layers = header.path, device, gpu_layers
        self._copied = gpu_layers == 0 and are_relaid(header)
        self._api = runtime()
        self._model: Any = None
        self.open()
        self.context_tokens: int = self._api.llama_model_n_ctx_train(self._model)
        self.vocab_size: int = self._api.llama_vocab_n_tokens(self._vocab)

    def open(self) -> None:
        """Load the weights unless they are there: at first, and after `close`."""
        if self._model:
            return
        api, path = self._api, self.path
        params = api.llama_model_default_params()
        params.n_gpu_layers = self.gpu_layers
        params.use_extra_bufts = relays()
        if self._copied:  # mapped, the file would stay in memory beside it (docs/decisions/0006)
            params.load_mode = api.LLAMA_LOAD_MODE_NONE
        forget_errors()
        self._model = api.llama_model_load_from_file(str(path).encode(), params)
        if not self._model:
            raise LoadFailed(
                f"llama.cpp cannot load {path}: {complaints()}",
                hint="export it again, or restore the file: edge-et doctor",
            )
        self._vocab = api.llama_model_get_vocab(self._model)

    @property
    def handle(self) -> Any:
        return self._model

    @property
    def vocab(self) -> Any:
        return self._vocab

    @property
    def goes_back(self) -> bool:
        """Whether tokens can be taken back: a recurrent state stands for all it has read."""
        api = self._api
        return not (
            api.llama_model_is_recurrent(self._model) or api.llama_model_is_hybrid(self._model)
        )

    def close(self) -> None:
        if self._model:
            self._api.llama_model_free(self._model)
            self._model = None

    def chat_template(self) -> str | None:
        source = self._api.llama_model_chat_template(self._model, None)
        return source.decode("utf-8", "replace") if source else None

    def meta(self, key: str) -> str | None:
        """Return a metadata value as text."""
        buffer = ctypes.create_string_buffer(256)
        size = self._api.llama_model_meta_val_str(self._model, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace") if size >= 0 else None

    def tokenize(self, text: str, parse_special: bool) -> tuple[int, ...]:
        """Tokenize without adding a begin or an end. User-defined tokens are always parsed."""
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        while True:
            ids = (self._api.llama_token * room)()
            count = self._api.llama_tokenize(
                self._vocab, data, len(data), ids, room, False, parse_special
            )
            if count >= 0:
                return tuple(ids[:count])
            room = -count

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """Return the bytes of a token; control tokens are empty unless `special`."""
        buffer = ctypes.create_string_buffer(64)
        size = self._api.llama_token_to_piece(self._vocab, token, buffer, 64, 0, special)
        if size < 0:
            buffer = ctypes.create_string_buffer(-size)
            size = self._api.llama_token_to_piece(self._vocab, token, buffer, -size, 0, special)
        return buffer.raw[:size]

    def marker(self, token: int) -> str | None:
        """Spell a token that means more than its letters; None for ordinary ones.

        Control tokens, and of the user-defined ones those in brackets: some vocabularies define
        runs of blanks.
        """
        attributes = self._api.llama_vocab_get_attr(self._vocab, token)
        control = bool(attributes & self._api.LLAMA_TOKEN_ATTR_CONTROL)
        if not control and not attributes & self._api.LLAMA_TOKEN_ATTR_USER_DEFINED:
            return None
        text = self.piece(token, special=True).decode("utf-8", "replace")
        in_brackets = len(text) > 2 and text[0] in "<[" and text[-1] in ">]"
        return text if control or in_brackets else None

    def is_stop(self, token: int) -> bool:
        return bool(self._api.llama_vocab_is_eog(self._vocab, token))

    def token_text(self, which: Literal["bos", "eos"]) -> str:
        token = getattr(self._api, f"llama_vocab_{which}")(self._vocab)
        return "" if token < 0 else self.piece(token, special=True).decode("utf-8", "replace")


class Context:
    """One sequence over a model: its KV cache, position and sampler."""

    def __init__(self, model: Model, *, context_tokens: int, threads: int) -> None:
        """Raises LoadFailed when the memory for `context_tokens` cannot be had."""
        api = self._api = runtime()
        params = api.llama_context_default_params()
        params.n_ctx = -(-context_tokens // _CONTEXT_STEP_TOKENS) * _CONTEXT_STEP_TOKENS
        params.n_batch = params.n_ubatch = _BATCH_TOKENS
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_AUTO
        params.offload_kqv = params.op_offload = model.device != "cpu"
        params.no_perf = True
        forget_errors()
        self._context = api.llama_init_from_model(model.handle, params)
        if not self._context:
            raise LoadFailed(
                f"llama.cpp cannot make a context of {context_tokens} tokens: {complaints()}",
                hint="smaller budgets need less memory: --think-budget",
            )
        self.context_tokens: int = api.llama_n_ctx(self._context)
        self._vocab_size, self._vocab = model.vocab_size, model.vocab
        self._sampler: Any = None
        """None: greedy."""
        self._grammar: Grammar | None = None
        self._threads = threads
        self._held: list[int] = []
        self._in_blocks = 0
        """How many of the tokens held, from the first on, were read in whole blocks."""

    @property
    def room_tokens(self) -> int:
        return self.context_tokens - len(self._held)

    def close(self) -> None:
        self.constrain(None)
        self._drop_sampler()
        if self._context:
            self._api.llama_free(self._context)
            self._context = None

    def _drop_sampler(self) -> None:
        if self._sampler:
            self._api.llama_sampler_free(self._sampler)
            self._sampler = None

    def start(
        self, prompt: Sequence[int], sampling: SamplingConfig, stop: Callable[[], bool]
    ) -> int:
        """Read the prompt, take a fresh sampler; return how many tokens of it were held already.

        Of what was read before, the blocks that the prompt begins with are kept. `stop` is asked
        between the layers of the model, so that a long prompt can be cancelled.
        """
        before_last = _whole_blocks(max(0, len(prompt) - 1))  # one is read anew, for the logits
        kept = self._keep(prompt[:before_last])
        whole = _whole_blocks(len(prompt))
        self.constrain(None)
        self._drop_sampler()
        if sampling.temperature > 0:
            self._sampler = _sampler_chain(self._api, sampling)
        with self._stoppable(stop):
            self._read_blocks(prompt[kept:whole], logits=whole == len(prompt))
            self.feed(prompt[whole:])
        return kept

    def read_ahead(
        self, beginning: Sequence[int], stop: Callable[[], bool], *, threads: int
    ) -> int:
        """Read the whole blocks of what a prompt will begin with; return how many tokens are held.

        Blocks that were read before are not read again.
        """
        whole = beginning[: _whole_blocks(min(len(beginning), self.context_tokens))]
        kept = self._keep(whole)
        self._api.llama_set_n_threads(self._context, threads, threads)
        try:
            with self._stoppable(stop):
                self._read_blocks(whole[kept:])
        finally:
            self._api.llama_set_n_threads(self._context, self._threads, self._threads)
        return len(whole)

    def forget(self) -> None:
        """Hold nothing, so that the next prompt is read from its first token on."""
        self._truncate(0)

    def feed(self, tokens: Sequence[int], draft: Sequence[int] = ()) -> None:
        """Read tokens; the logits are then those after the last one, and after each of the draft
        behind it (of one batch together). Raises InferenceFailed."""
        if draft:
            self._decode([*tokens, *draft], rows=1 + len(draft))
            return
        for first in range(0, len(tokens), _BATCH_TOKENS):
            self._decode(tokens[first : first + _BATCH_TOKENS])

    def _read_blocks(self, tokens: Sequence[int], *, logits: bool = False) -> None:
        """Read whole blocks, for their trace in the KV cache and, where wanted, for the logits
        after them."""
        for first in range(0, len(tokens), _BATCH_TOKENS):
            batch = tokens[first : first + _BATCH_TOKENS]
            last = first + len(batch) == len(tokens)
            self._decode(batch, rows=int(logits and last))
            self._in_blocks += len(batch)

    def take_back(self, tokens: int) -> None:
        """Forget the last tokens read; only where the model `goes_back`."""
        kept = len(self._held) - tokens
        if self._truncate(kept) != kept:
            raise InferenceFailed(f"llama.cpp cannot take back {tokens} tokens: {complaints()}")

    def _decode(self, tokens: Sequence[int], *, rows: int = 1) -> None:
        """Read up to a batch, with logits after the last `rows`; what fails or is stopped leaves no
        token behind."""
        if len(tokens) > self.room_tokens:
            raise InferenceFailed(f"{len(tokens)} tokens do not fit into {self.room_tokens}")
        ids = (self._api.llama_token * len(tokens))(*tokens)
        batch = self._api.llama_batch_get_one(ids, len(tokens))
        if rows != 1:
            wanted = [place >= len(tokens) - rows for place in range(len(tokens))]
            batch.logits = (ctypes.c_int8 * len(tokens))(*wanted)
        code = self._api.llama_decode(self._context, batch)
        if code != 0:
            past = len(self._held)
            self._truncate(past)
            if code == _ABORTED:
                raise Cancelled("the reasoner was stopped by its caller")
            raise InferenceFailed(f"llama_decode returned {code} at token {past}: {complaints()}")
        self._held += tokens

    def _keep(self, beginning: Sequence[int]) -> int:
        """Drop all but the whole blocks that `beginning` begins with; return how many tokens."""
        end = min(self._in_blocks, len(beginning))
        same = next((i for i in range(end) if self._held[i] != beginning[i]), end)
        return self._truncate(_whole_blocks(same))

    def _truncate(self, tokens: int) -> int:
        """Hold the first `tokens` only; return how many are left.

        That is none where the memory cannot go back: a recurrent state stands for all it has read.
        """
        memory = self._api.llama_get_memory(self._context)
        if not self._api.llama_memory_seq_rm(memory, 0, tokens, -1):
            self._api.llama_memory_clear(memory, True)
            tokens = 0
        del self._held[tokens:]
        self._in_blocks = min(self._in_blocks, tokens)
        return tokens

    @contextlib.contextmanager
    def _stoppable(self, stop: Callable[[], bool]) -> Iterator[None]:
        """Ask `stop` between the layers of the model while reading."""
        raised: list[BaseException] = []

        def asked(_: Any) -> bool:
            try:
                return bool(stop())
            except BaseException as exc:  # Ctrl-C lands here too; C would swallow it
                raised.append(exc)
                return True

        callback = self._api.ggml_abort_callback(asked)
        self._api.llama_set_abort_callback(self._context, callback, None)
        try:
            yield
        except Cancelled:
            if raised:
                raise raised[0] from None
            raise
        finally:
            null = self._api.ggml_abort_callback()
            self._api.llama_set_abort_callback(self._context, null, None)

    def sample(
        self, banned: IntArray = NO_IDS, nudge: Nudge | None = None, *, back: int = 0
    ) -> int:
        """Return the next token, none of `banned`; it is not read until it is fed.

        `back`: it is the one before the last so many of a draft.
        """
        if nudge is not None:
            self._logits(back)[nudge.token] += nudge.logits
        if len(banned):
            self._logits(back)[banned] = -np.inf
        token = self._draw(back)
        return token if self._grammar is None else self._within(self._grammar, token, back)

    def _draw(self, back: int) -> int:
        """llama.cpp's greedy sampler takes the same token after copying the whole vocabulary with
        its ids: 0.4 ms a token with Qwen3's, 1 % of a small model's time."""
        if self._sampler is None:
            return int(self._logits(back).argmax())
        return int(self._api.llama_sampler_sample(self._sampler, self._context, -1 - back))

    def constrain(self, grammar: str | None) -> None:
        """Hold the tokens sampled from here on to a grammar in GBNF; None sets them free."""
        if self._grammar is not None:
            self._grammar.close()
        self._grammar = None if grammar is None else Grammar(self._vocab, grammar)

    def _within(self, grammar: Grammar, token: int, back: int) -> int:
        """Return `token` if the grammar allows it, else one drawn from those that it allows.

        Trying one token is cheap, trying the whole vocabulary is not, and mostly one is enough.
        """
        if not grammar.allows(token):
            logits = self._logits(back)
            grammar.mask(logits)
            if not np.isfinite(logits).any():
                raise InferenceFailed("the grammar allows none of the model's tokens")
            token = self._draw(back)
        grammar.accept(token)
        return token

    def logits(self) -> npt.NDArray[np.float32]:
        """Return a copy of the logits after the last token read [vocabulary]."""
        return self._logits().copy()

    def _logits(self, back: int = 0) -> npt.NDArray[np.float32]:
        pointer = self._api.llama_get_logits_ith(self._context, -1 - back)
        if not pointer:
            raise InferenceFailed("llama.cpp has no logits: nothing was read")
        array: npt.NDArray[np.float32] = np.ctypeslib.as_array(pointer, (self._vocab_size,))
        return array


def _whole_blocks(tokens: int) -> int:
    return tokens // BLOCK_TOKENS * BLOCK_TOKENS


def _sampler_chain(api: Any, sampling: SamplingConfig) -> Any:
    """top_k, temperature, top_p and a seeded draw: transformers' results in C.

    transformers scales first; top_k picks the same tokens before, from fewer numbers to sort.
    """
    chain = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())
    if sampling.top_k:
        api.llama_sampler_chain_add(chain, api.llama_sampler_init_top_k(sampling.top_k))
    api.llama_sampler_chain_add(chain, api.llama_sampler_init_temp(sampling.temperature))
    if sampling.top_p < 1:
        api.llama_sampler_chain_add(chain, api.llama_sampler_init_top_p(sampling.top_p, 1))
    api.llama_sampler_chain_add(chain, api.llama_sampler_init_dist(sampling.seed & 0xFFFFFFFF))
    return chain


__all__ = ["Context", "Model", "UsedDevice", "runtime"]
