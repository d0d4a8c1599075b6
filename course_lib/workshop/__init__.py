"""What the classroom needs: plots, widgets and a look at the source. Only notebooks and tests import from here."""
