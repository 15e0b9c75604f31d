"""What many tests share: servers, clients, jobs and waiting."""
