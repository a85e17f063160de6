"""What runs a traced formula: torch operations (eager), CPU machine code (cpu), or the web page (page)."""
