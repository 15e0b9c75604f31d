"""The producers, queues, groups and dead letters that applications use."""
