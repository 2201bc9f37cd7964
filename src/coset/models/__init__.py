"""Ready systems, one file each, in folders by use; they know no task and do not import each other."""
