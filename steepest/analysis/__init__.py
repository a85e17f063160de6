"""What happened in a run: where it ended (`location`), what went wrong (`diagnosis`), the loss around it
(`landscape`)."""
