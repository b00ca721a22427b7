"""What observes the installation, asked by it: Prometheus and Alertmanager, over HTTP."""
