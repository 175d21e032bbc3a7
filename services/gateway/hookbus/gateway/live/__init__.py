"""Events as they happen, for people who watch: from the bus to bounded queues, one for each reader."""
