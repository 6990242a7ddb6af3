"""From a job to its result with a receipt, and to the receipt of its group."""
