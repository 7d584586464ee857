"""The base class of all variants: an ``nn.Module`` that sits on one target layer and changes what it computes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from variants.runtime.calibrate import Statistic
from variants.runtime.config import AdapterConfig
from variants.runtime.errors import AdapterError
from variants.runtime.layers.kinds import sizes_of, weight_of
from variants.runtime.layers.numbers import is_quantised
from variants.runtime.numerics.derived import Derived
from variants.runtime.numerics.fold import fold
from variants.runtime.spec import TensorSpec

T = TypeVar("T")


class Adapter(nn.Module):
    """One adapter on one linear layer ``y = x W^T + b``, with ``W: (d_out, d_in)``.

    A variant names its tensors in ``specs`` and overrides ``change_input`` (runs before the layer) or
    ``change_output`` (runs after it). Values that belong together come from ``initial``; a method that takes a part of
    the weight over gives what is left of it in ``residual``; one that looks at data names a ``statistic``. The adapter
    is a child of the layer called ``adapter``: it moves, casts, copies and pickles with it, and its tensors are in the
    layer's ``state_dict``.
    """

    name: ClassVar[str]
    Config: ClassVar[type[AdapterConfig]]
    W_res: ClassVar[None] = None
    """A key of the layer's state dictionary (``layers.state_dicts``); the tensor is the layer's weight. It is here
    because ``torch.distributed.checkpoint`` looks up the path of every key."""
    on_codes: bool
    """Whether the layer's weight is quantised: read by ``layers.numbers``, never replaced."""

    def __init__(
        self,
        config: Any,
        layer: nn.Module,
        *,
        statistic: Any = None,
        values: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Build for ``layer`` without touching it. ``values`` (from a file) take the place of every initial value."""
        super().__init__()
        self._place(config, layer)
        self.original: Tensor | None = None
        self.file_tensors: dict[str, Tensor] = {}
        self.merged = False
        self.base_comes = ""
        self.watches: list[RemovableHandle] = []
        self._handles: list[RemovableHandle] = []
        self._derived: Derived[Any] = Derived()
        self.check_layer(layer)
        weight = weight_of(layer)
        given = self.initial(layer, statistic) if values is None else values
        for name, spec in self.own_specs().items():
            if name in given:
                spec.require_shape(given[name])
                # Contiguous, as it comes back from a file: products depend on the layout in the last bit.
                layout = torch.contiguous_format
                value = given[name].detach().to(weight.device, config.torch_dtype, copy=True, memory_format=layout)
            else:
                value = spec.make(layer, config.torch_dtype, weight.device)
            if spec.kept and not self.on_codes:
                self.file_tensors[name] = value
            elif spec.buffer or spec.kept:
                self.register_buffer(name, value, persistent=True)
            else:
                self.register_parameter(name, nn.Parameter(value, requires_grad=spec.trainable))
        self.train(layer.training)

    @classmethod
    def specs(cls, config: Any, d_in: int, d_out: int) -> dict[str, TensorSpec]:
        """Every tensor of the adapter under the name the formula gives it."""
        raise NotImplementedError

    def own_specs(self) -> dict[str, TensorSpec]:
        """``specs`` of this adapter, on the layer that it is for."""
        return self.specs(self.config, self.d_in, self.d_out)

    @classmethod
    def statistic(cls, config: Any, layer: nn.Module) -> Statistic | None:
        """What to gather about the layer's inputs during calibration; None for a method that looks at no data."""
        return None

    @classmethod
    def assign(cls, config: Any, layers: Mapping[str, nn.Module], statistics: Mapping[str, Any]) -> dict[str, Any]:
        """A config per layer, by name; a layer that is left out gets no adapter. The same for all by default."""
        return dict.fromkeys(layers, config)

    @classmethod
    def refuse(cls, config: Any, layer: nn.Module) -> None:
        """``check_layer`` without building: before any data are looked at."""
        cls._bare(config, layer).check_layer(layer)

    @classmethod
    def specs_on(cls, config: Any, layer: nn.Module) -> dict[str, TensorSpec]:
        """``specs`` on this layer, without building."""
        return cls._bare(config, layer).own_specs()

    @classmethod
    def _bare(cls, config: Any, layer: nn.Module) -> Self:
        bare = cls.__new__(cls)
        nn.Module.__init__(bare)
        bare._place(config, layer)
        return bare

    def check_layer(self, layer: nn.Module) -> None:
        """Raise ``AdapterError`` when the method cannot work on this layer. Nothing to check by default.

        It is called before the adapter has any tensor: ``config``, ``d_in`` and ``d_out`` are there.
        """

    def initial(self, layer: nn.Module, statistic: Any) -> dict[str, Tensor]:
        """Initial values that are computed together; the other tensors start as their spec says."""
        return {}

    def residual(self, W: Tensor) -> Tensor | None:
        """What the layer's weight becomes while the adapter is on, from the original ``W`` and the stored tensors.

        None leaves the weight alone. A method that overrides this is put on no weight that is tied or computed. It is
        not asked on a quantised layer (``on_codes``): rounded to codes, a residual is another one. There, the method
        takes its own part from the output.
        """
        return None

    def change_input(self, layer: nn.Module, x: Tensor) -> Tensor:
        """What the layer sees in place of ``x: (..., d_in)``; same shape and dtype."""
        raise NotImplementedError

    def change_output(self, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """What the layer gives in place of ``y: (..., d_out)``; same shape and dtype."""
        raise NotImplementedError

    def _place(self, config: Any, layer: nn.Module) -> None:
        self.config = config
        self.d_in, self.d_out = sizes_of(layer)
        self.on_codes = is_quantised(layer)

    def _dropped(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """``x`` after dropout, for the methods that have it; in ``dtype`` where there is any."""
        p = self.config.dropout
        return F.dropout(x.to(dtype), p) if p and self.training else x

    def _kept(self, sources: tuple[Tensor, ...], make: Callable[[], T], key: object = None) -> T:
        """``make()``, which follows from sources and key alone; outside of autocast, in the sources' own dtype.

        In eval and inference mode it is made once, until a source changes: small ones are compared whole, and large
        ones are taken on trust only inside ``unchanged``. Anywhere else it is made anew.
        """
        if torch.compiler.is_compiling():
            return make()
        if torch.is_autocast_enabled(sources[0].device.type):
            with torch.autocast(sources[0].device.type, enabled=False):
                return make()
        if self.training or not torch.is_inference_mode_enabled():
            self._derived.forget()
            return make()
        value: T = self._derived.get(sources, make, key)
        return value

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._derived.forget()  # or the memory from before a move would be held
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def fold(self, layer: nn.Module) -> tuple[Tensor, Tensor]:
        """``W': (d_out, d_in)`` and ``b': (d_out,)`` in float64, of this layer with this adapter, in eval mode."""
        return fold(self._twin(), layer)

    def _twin(self) -> Adapter:
        """A float64 copy in eval mode that is hooked to nothing."""
        memo: dict[int, object] = {id(each): [] for each in (self._handles, self.watches)}
        memo |= {id(self.original): None, id(self.file_tensors): {}}
        return copy.deepcopy(self, memo).double().eval()

    def require_numbers(self, layer: nn.Module) -> None:
        """Refuse a weight whose numbers cannot be read, for the methods that look at it."""
        if self.on_codes:
            return
        weight = weight_of(layer)
        # 8-bit floats are storage: torch neither promotes nor decomposes them.
        plain = weight.is_floating_point() and weight.itemsize > 1 and weight.shape == (self.d_out, self.d_in)
        if not plain:
            raise AdapterError(
                got=f"{type(layer).__name__} with a {weight.dtype} weight of shape {tuple(weight.shape)}",
                want=f"a plain floating-point weight of shape {(self.d_out, self.d_in)}, or one that bitsandbytes "
                "quantised",
                where=self.name,
                fix="Attach before quantising, or choose a method that leaves the weight alone.",
            )

    def require_rank_at_most(self, limit: int, why: str) -> None:
        """Refuse a rank beyond the spectrum, for the methods that have one."""
        if self.config.r > limit:
            raise AdapterError(
                got=f"r={self.config.r}",
                want=f"r of at most {limit} ({why})",
                where=f"{self.name} on a layer {self.d_in} -> {self.d_out}",
                fix="Lower r, or leave this layer out with Targets(exclude=...).",
            )

    def hook(self, layer: nn.Module) -> None:
        """Start changing what ``layer`` computes."""
        if type(self).change_input is not Adapter.change_input:
            self._handles.append(layer.register_forward_pre_hook(self._before, with_kwargs=True))
        if type(self).change_output is not Adapter.change_output:
            self._handles.append(layer.register_forward_hook(self._after, with_kwargs=True))

    def unhook(self) -> None:
        """Stop; the layer computes what it did before."""
        while self._handles:
            self._handles.pop().remove()

    def _before(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if args:
            return (self.change_input(layer, args[0]), *args[1:]), kwargs
        key = _input_name(kwargs)
        return args, {**kwargs, key: self.change_input(layer, kwargs[key])}

    def _after(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], y: Tensor) -> Tensor:
        return self.change_output(layer, args[0] if args else kwargs[_input_name(kwargs)], y)


def _input_name(kwargs: dict[str, Any]) -> str:
    """The keyword of the input: ``input`` for nn.Linear, another (``x``) for other linear-like layers."""
    return "input" if "input" in kwargs else next(iter(kwargs))


def row_norm(M: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Euclidean norm of each row: ``(n, m) -> (n,)``, computed in ``dtype`` without a cast copy of M."""
    norms: Tensor = torch.linalg.vector_norm(M, dim=1, dtype=dtype)
    return norms
