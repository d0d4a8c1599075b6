"""What is true at a moment of a story: who is where and has what, how everybody feels, whom a pronoun would mean."""

from course_lib.data.storyworld.events import Kind
from course_lib.data.storyworld.grammar import NEW, Binding

CALM = "calm"


class State:
    """Persons, things and places in the order in which the story brought them in.

    ``holder[i]`` is the person who holds thing i, or -1 where it lies at ``lies[i]``.
    """

    __slots__ = (
        "focus",
        "fresh",
        "history",
        "holder",
        "it",
        "items",
        "lies",
        "location",
        "mood",
        "names",
        "places",
        "recent",
    )

    def __init__(self) -> None:
        self.names: list[int] = []
        self.location: list[int] = []
        self.mood: list[str] = []
        self.fresh: list[bool] = []  # the mood has changed and nobody has said so yet
        self.items: list[tuple[int, int | None, int | None]] = []  # noun, adjective, given name
        self.holder: list[int] = []
        self.lies: list[int] = []
        self.places: list[int] = []
        self.focus: int | None = None  # who acted last
        self.recent: tuple[int, ...] = ()  # who was in the last clause
        self.it: int | None = None  # the one thing of the last clause
        self.history: tuple[int, ...] = ()  # the last kinds of event

    def copy(self) -> "State":
        other = State.__new__(State)
        for slot in State.__slots__:
            value = getattr(self, slot)
            setattr(other, slot, value.copy() if isinstance(value, list) else value)
        return other

    def key(self) -> tuple:
        return tuple(tuple(v) if isinstance(v, list) else v for v in (getattr(self, slot) for slot in State.__slots__))

    def place_of(self, item: int) -> int:
        holder = self.holder[item]
        return self.lies[item] if holder < 0 else self.location[holder]

    def apply(self, kind: Kind, number: int, e: Binding) -> None:
        """Let the event happen: newcomers join the cast, things change hands, people move and feel."""
        role: dict[str, int | None] = {"p": e.p, "q": e.q, "h": e.h}
        for letter, index, name in (("A", e.a, e.A), ("B", e.b, e.B)):
            if index == NEW:
                assert name is not None
                index = len(self.names)
                self.names.append(name)
                self.location.append(NEW)
                self.mood.append(CALM)
                self.fresh.append(False)
            role[letter] = index
        for letter, index, item in (("t", e.t, e.T), ("u", e.u, e.U)):
            if index == NEW:
                assert item is not None
                index = len(self.items)
                self.items.append(item)
                self.holder.append(NEW)
                self.lies.append(NEW)
            role[letter] = index
        if e.p is not None and e.p not in self.places:
            self.places.append(e.p)
        for effect in kind.effects.split():
            subject, target = effect.split(">")
            who, to = role[subject], role[target]
            assert who is not None
            assert to is not None
            if subject in "AB":
                self.location[who] = to
            elif target in "AB":
                self.holder[who] = to
            else:
                self.holder[who], self.lies[who] = -1, to
        for effect in kind.moods.split():
            letter, mood = effect.split(":")
            who = role[letter]
            assert who is not None
            if mood == "told":
                self.fresh[who] = False
            else:
                self.fresh[who] = mood not in (CALM, self.mood[who])
                self.mood[who] = mood
        a, b, t, u = (role[letter] for letter in "ABtu")
        assert a is not None
        self.focus = a
        self.recent = (a,) if b is None else (a, b)
        self.it = t if u is None else None
        self.history = (number, *self.history[:3])
