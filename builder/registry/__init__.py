"""Read what a registry has, through the OCI Distribution API: no engine is asked."""
