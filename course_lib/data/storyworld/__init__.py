"""Storyworld: short stories in English and Chinese at once, with the truth about them and their exact probability."""

from course_lib.data.storyworld.story import MOODS, Entity, Facts, Sentence, Story
from course_lib.data.storyworld.world import Storyworld

__all__ = ["MOODS", "Entity", "Facts", "Sentence", "Story", "Storyworld"]
