"""What everything else is about: jobs, their rules, deliveries and how they end."""
