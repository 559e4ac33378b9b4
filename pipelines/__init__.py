"""Jobs, schedules, sensors and the command line."""

import gc

# What is imported for a run or a command are a million objects that stay. The collector would walk
# through them again and again, which took a third of a process's start (decision 0090).
gc.set_threshold(50_000, 20, 100)
