"""For instructors who grade with nbgrader: it makes the same learner's notebooks as the course's own release command.

Copy this file into the folder of your nbgrader course, or add these lines to the configuration that is there, and put
the notebooks of ``exercises/solutions/`` into ``source/<assignment>/``. The course must be installed beside nbgrader.
"""

from nbgrader.converters.generate_assignment import GenerateAssignment
from nbgrader.preprocessors import ClearSolutions

from course_lib.workshop.exercises.release import without_solutions


class ClearAnswers(ClearSolutions):
    """nbgrader knows one stub for all answers; here a plain value gets ``name = ...``, which raises nothing."""

    def preprocess_cell(self, cell, resources, cell_index):
        if cell.cell_type == "code":
            cell.source = without_solutions(cell.source)
        return cell, resources


c = get_config()
c.GenerateAssignment.preprocessors = [
    ClearAnswers if step is ClearSolutions else step
    for step in GenerateAssignment.class_traits()["preprocessors"].default()
]
c.Execute.timeout = 600  # seconds for one cell
