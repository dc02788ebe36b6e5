"""The four queues of pictures that a person is shown."""
