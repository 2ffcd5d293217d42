"""Files and folders that break the format, each made from a good recording."""
