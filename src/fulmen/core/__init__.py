"""What users subclass. There is no loop in here."""
