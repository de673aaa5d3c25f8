"""Files of others, damaged or hostile: every reader answers with one line or reads them, and does nothing else."""
