"""What an equation of a program is, as a rule says it: affine, a gate, refused."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import jax

from ecg_jax.program.gates import Gate


@dataclass(frozen=True, eq=False)
class Body:
    """One step of a loop, traced once for all: equations over numbered values.

    Attributes:
      inputs: constants of the loop, what it carries, one entry of what it goes along.
      outputs: what it carries on, one entry of what it puts out.
      equations: in order; what differs from step to step has no value in them.
      constants: the values of those that are the same in every step.
      avals: shape and dtype of every value.
      live: the values that see the function's input.
      bounds: of the outputs, after any step, for any input.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    equations: tuple["Equation", ...]
    constants: dict[int, Any]
    avals: Sequence[jax.ShapeDtypeStruct]
    live: frozenset[int]
    bounds: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Affine:
    """Affine in the operands that see the input, taken together.

    Of a loop that is affine as a whole, `body` is a step of it.
    """

    body: Body | None = None


@dataclass(frozen=True)
class Predicate:
    """A truth value that depends on the input; only a gate may read it."""


@dataclass(frozen=True)
class Same:
    """The output is operand number `index`, unchanged."""

    index: int


@dataclass(frozen=True, eq=False)
class Known:
    """The output has this value for every finite input."""

    value: Any


@dataclass(frozen=True)
class Rewrite:
    """The equation equals `fn` of all its operands, written with other operations.

    With `operands` it is a function of these values instead, numbers of the program.
    """

    fn: Callable[..., Any]
    operands: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Refused:
    """No exact rule: `why`, and what the user can `try_` instead.

    Where the operation is a node of an ONNX file, that is said as `try_onnx`.
    """

    why: str
    try_: str = "pass your own rule: factor(fn, x, rules={**RULES, primitive: rule})"
    try_onnx: str = (
        "export with other operations in its place, or take a value before it: "
        "ecg_jax.from_onnx(path, output=NAME)"
    )


@dataclass(frozen=True)
class Loop(Refused):
    """A loop with gates in its `body`: a black box until its last steps are peeled."""

    body: Body | None = None


class FreeValueError(LookupError):
    """A rule asked for a value that is given later: its operation is refused."""


GIVE = "give the weights as constants: factor(lambda x: fn(params, x), x)"

Role = Affine | Predicate | Same | Known | Rewrite | Refused | Gate


@runtime_checkable
class Rule(Protocol):
    """A function that says what one application of a primitive is."""

    def __call__(self, application: "Application", /) -> Role:
        """The role of its equation."""
        ...


Rules = Mapping[Any, Rule]


@dataclass(frozen=True, eq=False)
class Equation:
    """`outputs = primitive(inputs; params)`; role None: it does not see the input.

    A call of a function that the rules know by itself, such as `jax.nn.softplus`, has
    this `function`; its body is the function's own. A loop has one step of it as its
    `body`. It was `made` where JAX remembers,
    which `source` says in words: a line, or the node of an ONNX file.
    """

    primitive: Any
    params: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    role: Affine | Predicate | Refused | Gate | None
    source: str
    made: Any
    function: Callable[..., Any] | None = None
    body: Body | None = None


@dataclass(frozen=True)
class Application:
    """A primitive about to be applied: what a rule sees."""

    primitive: Any
    params: dict[str, Any]
    inputs: tuple[int, ...]
    builder: Any = field(repr=False)
    guarded: Callable[[], bool] = field(default=lambda: False, repr=False)
    """Is it a guard of one of JAX's own functions, such as `jax.nn.logsumexp`?"""

    @property
    def live(self) -> tuple[bool, ...]:
        """For each operand: does it see the input?"""
        return tuple(self.builder.live[number] for number in self.inputs)

    @property
    def avals(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Shape and dtype of each operand."""
        return tuple(self.builder.avals[number] for number in self.inputs)

    @property
    def known(self) -> tuple[bool, ...]:
        """For each operand: is it a constant whose value is given already?"""
        return tuple(map(self.builder.is_known, self.inputs))

    def constant(self, index: int) -> Any:
        """The value of an operand that does not see the input.

        Raises:
          FreeValueError: it is given later; uncaught, the operation is refused.
        """
        return self.builder.value(self.inputs[index])

    def operands(self) -> tuple[tuple[int, ...], Callable[..., list[Any]]]:
        """The operands that a gate is a function of, and all of them, given these.

        Those left out are constants of known value.
        """
        numbers = tuple(i for i, known in enumerate(self.known) if not known)
        others = {i: self.constant(i) for i, known in enumerate(self.known) if known}

        def every(*z: Any) -> list[Any]:
            values = {**others, **dict(zip(numbers, z, strict=True))}
            return [values[i] for i in range(len(values))]

        return numbers, every

    def body(
        self, live: Sequence[bool], known: Sequence[bool], notes: Mapping[Any, Any]
    ) -> tuple[Body, "Application"]:
        """A step of this loop, traced for itself.

        Args:
          live: for each input of the step: does it see the function's input?
          known: for each: is it the operand, whose value is given, in every step?
          notes: by a rule's key and the place of an input, what is known of it.

        Returns:
          The step, and what rules may ask of its values.
        """
        values = {i: self.constant(i) for i, own in enumerate(known) if own}
        return self.builder.body(self.params["jaxpr"], live, values, notes)

    def definition(self, number: int) -> Equation | None:
        """The equation that made a value; None for an input or a given constant."""
        return self.builder.definitions.get(number)

    @property
    def notes(self) -> dict[Any, Any]:
        """What rules remember of the values of this program, while it grows."""
        return self.builder.notes

    def constant_of(self, number: int) -> Any:
        """The value numbered `number`; None if it sees the input or is given later."""
        return self.builder.value(number) if self.builder.is_known(number) else None
