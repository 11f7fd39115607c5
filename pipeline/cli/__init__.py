"""The command line of the pipeline, one file a verb."""
