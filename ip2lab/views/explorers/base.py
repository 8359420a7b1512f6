"""What the explorers share: controls, pictures that follow them, ``.state``, ``.code()``, ``.export(path)``."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import holoviews as hv
import ipywidgets
import traitlets
import xarray as xr

from ip2lab import examples, records
from ip2lab.properties import UnknownName, hint
from ip2lab.views.explorers.recipe import Recipe, Step, call, ref
from ip2lab.views.markup import legible
from ip2lab.views.style import with_options
from ip2lab.views.widget import export
from ip2lab.views.widget.figure import Figure, show

Picture = tuple["hv.Element | hv.Overlay", str]  # an element and its caption
Handlers = Mapping[str, Callable[..., None]]  # what is done, by event
PATIENCE = 0.3  # seconds after which work shows the busy sign
NO_TORCH = "The network has to run again for this, which needs PyTorch; it is not installed here (pip install torch)."
REFUSALS = (ImportError, KeyError, TypeError, ValueError)  # of an analysis, or where something is not installed
COLUMNS = 4  # of the grid
CALM = 0.25  # seconds without a change after which panels that take long are drawn


class NothingToShow(Exception):
    """Raised by a panel that has nothing to draw; its text takes the picture's place."""


@dataclass(frozen=True)
class Exported:
    """What a panel adds to the exported data: a step, and the names that it and its dims have there."""

    step: str
    name: str = ""
    dims: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """One panel of an explorer.

    Parameters
    ----------
    name : str
        Its name, and that of the step that draws it.
    title : str
        In words; with a control ``panels`` the panel is shown where its title is chosen.
    controls : tuple of str
        The controls on which it depends: it is drawn again when one of them changes.
    steps : callable
        Takes what the explorer's `_choice` returns and returns the step that draws it, or several by their names, of
        which the one that draws it has the panel's.
    caption : callable
        Takes the explorer and returns the caption.
    draw : callable, optional
        Takes the explorer and returns the picture with its caption, in the place of steps.
    hidden : callable, optional
        Takes the explorer and returns why there is nothing to show, ``""`` where there is.
    missing : str
        Why there is nothing to show where no step has its name.
    width : int
        Of four columns; panels fill rows of four in their order.
    events : mapping of str to callable
        What it listens to (see :meth:`Figure.listen`), and what is then done: takes the explorer, the panel's name and
        what the figure tells.
    slow : tuple of str
        Steps that take long: where one has to be evaluated, the panel waits until nothing has changed for a moment.
    deferred : bool
        Drawn a moment after the others have appeared.
    data : tuple of Exported
        What it adds to the exported data.

    Examples
    --------
    >>> Panel("rates", "firing rate", ("neuron",), lambda _: call(max, ref("rate")), lambda _: "Rate").width
    2
    """

    name: str
    title: str
    controls: tuple[str, ...] = ()
    steps: Callable[[Any], Any] = lambda _: {}
    caption: Callable[[Any], str] = lambda _: ""
    draw: Callable[[Any], Picture] | None = None
    hidden: Callable[[Any], str] = lambda _: ""
    missing: str = ""
    width: int = 2
    events: Handlers = field(default_factory=dict)
    slow: tuple[str, ...] = ()
    deferred: bool = False
    data: tuple[Exported, ...] = ()


class Chosen(traitlets.HasTraits):
    """A control without a widget: what was picked out in the pictures, as numbers from 0 to below `count`."""

    value = traitlets.Tuple()

    def __init__(self, count: float) -> None:
        self.count = count
        super().__init__()

    @traitlets.validate("value")
    def _known(self, proposal: Any) -> tuple[Any, ...]:
        for number in proposal["value"]:
            if not isinstance(number, (int, float)) or not 0 <= number < self.count:
                raise traitlets.TraitError(f"give numbers from 0 to below {self.count:g}, not {number!r}")
        return tuple(proposal["value"])


class Switches(ipywidgets.HBox):  # type: ignore[misc]
    """A row of coloured buttons, each on or off: the names that are on are its value."""

    value = traitlets.Tuple()

    def __init__(self, names: Mapping[str, str], on: Sequence[str] | None = None) -> None:
        chosen = tuple(names) if on is None else tuple(on)
        self._buttons = {name: _button(name, ink, name in chosen) for name, ink in names.items()}
        super().__init__(list(self._buttons.values()), value=chosen, layout={"flex_flow": "row wrap"})
        for button in self._buttons.values():
            button.observe(self._read, "value")
        self.observe(self._write, "value")

    def _read(self, _: Any) -> None:
        self.value = tuple(name for name, button in self._buttons.items() if button.value)

    @traitlets.validate("value")
    def _known(self, proposal: Any) -> tuple[str, ...]:
        unknown = [name for name in proposal["value"] if name not in self._buttons]
        if unknown:
            known = f"there are {', '.join(self._buttons)}{hint(unknown[0], self._buttons)}"
            raise traitlets.TraitError(f"unknown name {unknown[0]!r}; {known}")
        return tuple(proposal["value"])

    def _write(self, _: Any) -> None:
        chosen = self.value
        with self.hold_trait_notifications():
            for name, button in self._buttons.items():
                button.value = name in chosen


def _button(name: str, ink: str, on: bool) -> ipywidgets.ToggleButton:
    words = legible(name)
    button = ipywidgets.ToggleButton(value=on, description=words, tooltip=f"show or hide {words}")
    button.layout.width = "auto"
    if not ink:
        button.layout.height, button.layout.padding, button.layout.margin = "24px", "0 5px", "1px"
        button.style.font_size = "11px"
    else:
        button.style.text_color, button.style.font_weight = ink, "bold"
    return button


class Explorer(ipywidgets.VBox):  # type: ignore[misc]
    """Widgets around pictures.

    A subclass lists its panels, a row each (:class:`Panel`). Only panels that depend on what changed are drawn again.
    With a control ``panels`` (:class:`Switches`) only those whose titles it names are shown and computed. What is drawn
    and what ``code()`` writes out are the same steps. Arrow keys move the controls in ``KEYS``.
    """

    PANELS: ClassVar[tuple[Panel, ...]]
    KEYS: ClassVar[dict[str, tuple[str, int]]] = {
        "ArrowLeft": ("problem", -1),
        "ArrowRight": ("problem", 1),
        "ArrowUp": ("time", 1),
        "ArrowDown": ("time", -1),
    }

    def __init__(self, controls: Mapping[str, ipywidgets.Widget], rows: Sequence[Sequence[ipywidgets.Widget]]) -> None:
        self.controls = dict(controls)
        self._held = False
        self._made: tuple[dict[str, Any], dict[str, Any]] = {}, {}
        self._shown: dict[str, Any] = {}
        self._waiting: set[str] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._panels = {panel.name: panel for panel in self.PANELS}
        self._seen = self.visible()
        self.figure = self._first_figure()
        self.figure.listen("", "key", self._press)
        with self.figure.at_once():
            for panel in self.PANELS:
                for event, handler in panel.events.items():
                    self.figure.listen(panel.name, event, partial(handler, self, panel.name))
        for control in self.controls.values():
            control.observe(self._follow, "value")
        bar = {"flex_flow": "row wrap", "align_items": "center", "grid_gap": "2px 14px"}
        bars = [ipywidgets.HBox(list(row), layout=bar) for row in rows]
        super().__init__([*bars, self.figure], layout={"width": "100%"})

    def _first_figure(self) -> Figure:
        """The pictures that are shown at first; deferred ones wait."""
        shown = [name for name in self._seen if not self._panels[name].deferred]
        self._waiting |= set(self._seen) - set(shown)
        elements, captions, notes = self._draw(shown)
        elements |= {name: self._blank(name) for name in shown if name not in elements}
        pictures = {panel.name: elements.get(panel.name) for panel in self.PANELS}
        events = {panel.name: list(panel.events) for panel in self.PANELS if panel.events}
        return Figure(pictures, self._grid(), captions, notes, events)

    def close(self) -> None:
        """Take the explorer off its page and let go of everything in it: its memory is free once no name is left."""
        if self.comm is not None:  # it is asked of one that was closed, or never came to be, too
            if self._alarm is not None:
                self._alarm.cancel()
            for part in (*self.children, *self.controls.values(), self.layout):
                _close(part)
        super().close()

    # ------------------------------------------------------------------ what a person set

    @property
    def state(self) -> dict[str, Any]:
        """Every choice by name, plain enough for JSON; set it (a dict, also of a few, or `state_text`) to go there."""
        return {name: list(c.value) if isinstance(c.value, tuple) else c.value for name, c in self.controls.items()}

    @state.setter
    def state(self, chosen: Mapping[str, Any] | str) -> None:
        if isinstance(chosen, str):
            chosen = _unpacked(chosen)
        unknown = [name for name in chosen if name not in self.controls]
        if unknown:
            known = f"it has {', '.join(self.controls)}{hint(unknown[0], self.controls)}"
            raise UnknownName(f"this explorer has no choice {unknown[0]!r}; {known}")
        self._held = True
        try:
            for name, value in chosen.items():
                self._set(name, value)
        finally:
            self._held = False
            self._follow(None)

    def _press(self, key: str) -> None:
        """An arrow moves a control to its next value; Escape lets go what is selected."""
        if key == "Escape" and "selected" in self.controls:
            self.state = {name: () for name in ("selected", "span") if name in self.controls}
        name, by = self.KEYS.get(key, ("", 0))
        control = self.controls.get(name)
        if control is None:
            return
        if hasattr(control, "options"):
            values = [o[1] if isinstance(o, tuple) else o for o in control.options]
            control.value = values[min(max(values.index(control.value) + by, 0), len(values) - 1)]
        else:
            control.value = min(max(control.value + by * getattr(control, "step", 1), control.min), control.max)

    def _set(self, name: str, value: Any) -> None:
        control = self.controls[name]
        try:
            control.value = tuple(value) if isinstance(control.value, tuple) else value
        except (traitlets.TraitError, TypeError) as error:
            words = [str(o[1] if isinstance(o, tuple) else o) for o in getattr(control, "options", ())]
            tail = f", ... ({len(words)} in all)" if len(words) > 20 else ""
            valid = f"choose from {', '.join(words[:20])}{tail}{hint(value, words)}" if words else str(error)
            raise ValueError(f"{name}: {value!r} is not valid; {valid}") from None
        if isinstance(value, (int, float)) and control.value != value:
            low, high, came = control.min, control.max, value
            raise ValueError(f"{name}: {came!r} is not valid; choose from {low} to {high}")

    @property
    def state_text(self) -> str:
        """`state` as one short word, to be shared and given to `state` again."""
        return (
            base64.urlsafe_b64encode(zlib.compress(json.dumps(self.state, separators=(",", ":")).encode(), 9))
            .decode()
            .rstrip("=")
        )

    # ------------------------------------------------------------------ drawing

    def visible(self) -> list[str]:
        """The panels that are shown now, in their order."""
        if "panels" not in self.controls:
            return [panel.name for panel in self.PANELS]
        return [panel.name for panel in self.PANELS if panel.title in self.controls["panels"].value]

    def _slow(self, panels: Sequence[str]) -> set[str]:
        """Those of some panels that take long to draw, with what is chosen and what is known already."""
        rows = [self._panels[name] for name in panels if self._panels[name].slow]
        return {row.name for row in rows if self._recipe.missing(self._now(), row.name).intersection(row.slow)}

    def _grid(self) -> str:
        """Rows of four columns; the panels of a row share the place of one that is not shown."""
        rows, filled = [list[Panel]()], 0
        for panel in self.PANELS:
            if filled == COLUMNS:
                rows, filled = [*rows, []], 0
            filled += panel.width
            rows[-1].append(panel)
        seen = self.visible()
        areas = [_areas([panel for panel in row if panel.name in seen]) for row in rows]
        return " ".join(area for area in areas if area) + " / " + " ".join(["minmax(0, 1fr)"] * COLUMNS)

    def _follow(self, _: Any) -> None:
        if self._held:
            return
        now = self.state
        changed = {name for name in now if self._shown.get(name) != now[name]}
        touched = [name for name in self.visible() if changed & set(self._panels[name].controls)]
        if self.visible() != self._seen:
            touched = [name for name in self.visible() if name in touched or name not in self._seen]
            self.figure.grid, self._seen = self._grid(), self.visible()
        with self._busy():
            slow = self._slow(touched)
        self._waiting = self._waiting - set(touched) | slow
        self._redraw([name for name in touched if name not in slow])
        self._shown = now
        if self._waiting:
            self._wait()

    def _redraw(self, panels: Sequence[str]) -> None:
        if not panels:
            return
        with self._busy():
            elements, captions, notes = self._draw(panels)
        never = [name for name in panels if name not in elements and name not in self.figure.elements]
        self.figure.update(captions, notes, **elements, **{name: self._blank(name) for name in never})

    def _blank(self, name: str) -> Any:
        return self._blanks().get(name, with_options(hv.Overlay([hv.Points([])])))

    def _wait(self) -> None:
        """Draw what takes long once nothing has changed for a moment, or at once where no event loop runs."""
        if self._alarm is not None:
            self._alarm.cancel()
        try:
            self._alarm = asyncio.get_running_loop().call_later(CALM, self.settle)
        except RuntimeError:
            self.settle()

    def settle(self) -> None:
        """Draw at once what waits for a moment of calm."""
        waiting, self._waiting = self._waiting, set()
        self._redraw([name for name in self.visible() if name in waiting])

    def _draw(self, panels: Sequence[str] | Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
        elements, captions, notes = {}, {}, {}
        self._shown = self.state
        for name in panels:
            try:
                elements[name], captions[name] = self._picture(self._panels[name])
                notes[name] = ""
            except NothingToShow as reason:
                notes[name], captions[name] = str(reason), ""
        return elements, captions, notes

    def _picture(self, panel: Panel) -> Picture:
        """A panel's element and caption, or why there is nothing to show."""
        if panel.draw is not None:
            return panel.draw(self)
        why = panel.hidden(self)
        if panel.name not in self._now():
            why = panel.missing
        if why:
            raise NothingToShow(why)
        return self._value(panel.name), panel.caption(self)

    def _blanks(self) -> dict[str, Any]:
        """What is drawn, hidden by its note, where a panel has nothing to show at first."""
        return {}

    @contextmanager
    def _busy(self) -> Iterator[None]:
        sign = threading.Timer(PATIENCE, self.figure.busy)
        sign.daemon = True
        sign.start()
        try:
            yield
        finally:
            sign.cancel()

    # ------------------------------------------------------------------ the recipe
    _recipe: Recipe

    def _choice(self) -> Any:
        """What the steps of a panel are made from."""
        return self

    def _shared(self) -> dict[str, Any]:
        """The steps, by name, that several panels need."""
        raise NotImplementedError

    def _steps(self) -> dict[str, Any]:
        """Every step by name, from the data to the pictures, with what is chosen put in."""
        found, choice = self._shared(), self._choice()
        for panel in self.PANELS:
            made = panel.steps(choice)
            found |= {panel.name: made} if isinstance(made, Step) else made
        return found

    def _now(self) -> dict[str, Any]:
        """The steps for what is chosen now, made once."""
        state = self.state
        if self._made[0] != state:
            self._made = state, self._steps()
        return self._made[1]

    def _value(self, name: str) -> Any:
        """What a step gives; what is refused takes the picture's place, in the words of who refused it."""
        try:
            return self._recipe.value(self._now(), name)
        except REFUSALS as error:
            raise NothingToShow(reason(error)) from None

    # ------------------------------------------------------------------ what leaves the explorer

    def _there(self) -> list[str]:
        """The panels that show something."""
        self.settle()
        return [name for name in self.visible() if not self.figure.notes.get(name)]

    def _heading(self, panel: str) -> str:
        """A panel in words."""
        return self._panels[panel].title

    def code(self) -> str:
        """Return the calls that draw these pictures without widgets."""
        shown = self._there()
        titles = [self._heading(name) for name in shown]
        pictures = {t[:1].upper() + t[1:]: ref(name) for name, t in zip(shown, titles, strict=True)}
        return self._recipe.code(self._now(), shown, call(show, pictures))

    def data(self) -> xr.Dataset:
        """Return the data behind the pictures."""
        raise NotImplementedError

    def export(self, path: str | Path) -> Path:
        """Save what is shown.

        Parameters
        ----------
        path : str or Path
            ``.png`` or ``.svg`` (print quality), ``.html`` (works alone), ``.nc`` or ``.csv`` (the data).

        Returns
        -------
        Path
            The file.
        """
        self.settle()
        return export.export(Path(path), self.figure, self.data)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        if export.wanted():
            self.settle()
        elif self._waiting:
            self._wait()
        bundle = super()._repr_mimebundle_(**kwargs)
        return export.with_picture(bundle, self.figure)


def _areas(row: Sequence[Panel]) -> str:
    """A row of a grid, filled by its panels."""
    whole = sum(panel.width for panel in row)
    names = [panel.name for panel in row for _ in range(COLUMNS * panel.width // whole)]
    return f'"{" ".join(names)}"' if names else ""


def _close(widget: Any) -> None:
    """Close a widget with all that it consists of; ipywidgets keeps what is in a box, and how it looks, for good."""
    if isinstance(widget, ipywidgets.Widget):
        for part in (*getattr(widget, "children", ()), getattr(widget, "layout", None), getattr(widget, "style", None)):
            _close(part)
        widget.close()


def reason(error: Exception) -> str:
    """Why something cannot be shown."""
    if isinstance(error, ImportError) and error.name in ("torch", "ip2lab.probes"):
        return NO_TORCH
    if isinstance(error, KeyError) and not isinstance(error, UnknownName):
        return f"The run lacks what this needs: {error}"
    return str(error.args[0]) if error.args else str(error)


def _unpacked(text: str) -> dict[str, Any]:
    try:
        return dict(json.loads(zlib.decompress(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))))
    except (ValueError, zlib.error):
        raise ValueError(
            f"state: {text[:40]!r} is no state of an explorer; give a dict or what .state_text returned"
        ) from None


def dropdown(description: str, options: Any, value: Any = None) -> ipywidgets.Dropdown:
    """Return a list to choose from, as wide as its words, up to a limit."""
    chosen = {} if value is None else {"value": value}
    pairs = options.items() if isinstance(options, Mapping) else options
    return ipywidgets.Dropdown(
        description=description,
        options=choices(pairs),
        layout={"width": "auto", "max_width": "230px"},
        style={"description_width": "initial"},
        **chosen,
    )


def choices(options: Iterable[Any]) -> list[Any]:
    """Return what can be chosen, in words that can be shown."""
    found = list(options)
    if all(str(option) == legible(option) for option in found if not isinstance(option, tuple)):
        return [(legible(option[0]), option[1]) if isinstance(option, tuple) else option for option in found]
    return [(legible(option), option) for option in found]


SLIDER = {"flex": "1 1 230px", "width": "auto", "max_width": "340px"}  # two side by side beside a file browser


def slider(description: str, options: Sequence[Any], value: Any) -> ipywidgets.SelectionSlider:
    """Return a slider over values that need not be evenly spaced; the arrow keys move it."""
    return ipywidgets.SelectionSlider(
        description=description,
        options=list(options),
        value=value,
        continuous_update=True,
        layout=SLIDER,
        style={"description_width": "initial"},
    )


def check(description: str, value: bool, tooltip: str = "") -> ipywidgets.Checkbox:
    """Return a box to tick, no wider than its words."""
    looks = {"indent": False, "layout": {"width": "auto"}, "tooltip": tooltip}
    return ipywidgets.Checkbox(description=description, value=value, **looks)


def as_run(run: Any) -> xr.DataTree:
    """Return a run, opened where its path is given; raises TypeError for anything else."""
    if isinstance(run, (str, os.PathLike)):
        return records.open_run(run)
    if not isinstance(run, xr.DataTree):
        raise TypeError(
            f"run: {type(run).__name__} is not a run; give what ip2lab.train returned, or the path of a store"
        )
    return run


def with_neurons(run: Any) -> xr.DataTree:
    """Return a run whose groups list the same neurons in one order, for a neuron is chosen by its place in all of them.

    Raises
    ------
    ValueError
        Where two groups, or the two dims of the weights, list others or in another order.

    Examples
    --------
    >>> import ip2lab
    >>> run = ip2lab.example("association")
    >>> with_neurons(run) is run
    True
    """
    run, first = as_run(run), None
    for name, node in run.children.items():
        for dim in ("neuron", "presynaptic"):
            if dim not in node.indexes:
                continue
            labels, where = node.indexes[dim], f"{dim!r} of {name!r}"
            if first is None:
                first = labels, where
            elif not labels.equals(first[0]):
                other = "in another order than" if set(labels) == set(first[0]) else "with other labels than"
                raise ValueError(
                    f"run: {where} comes {other} {first[1]}; select the same neurons, in one order, in both"
                )
    return run


def group(run: xr.DataTree, name: str) -> xr.Dataset:
    """Return a group of a run as a dataset; raises KeyError naming the groups there are."""
    if name not in run.children:
        raise UnknownName(f"the run has no group {name!r}; it has {', '.join(map(str, run.children))}")
    return run[name].to_dataset()


def source(run: xr.DataTree, name: str = "run") -> dict[str, Step]:
    """Return the step, by its name, that opens a run again; none where nothing says from where it came."""
    path = run.encoding.get("source") or run.attrs.get("path")
    if not path:
        return {}
    stored = Path(str(path)).resolve()
    if stored.parent == examples.DATA.resolve() and stored.stem in examples.EXAMPLES:
        return {name: call(examples.example, stored.stem)}
    return {name: call(records.open_run, str(path))}
