"""What a Prefect server is told: prefect.yaml, presets to start from, job templates for Docker and Kubernetes."""
