"""What the operating system gives: whole files, locks, guarded processes, facts about the machine."""
