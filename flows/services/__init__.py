"""The embedded servers: Prefect and MLflow on 127.0.0.1, outliving the command that started them."""

from flows.services.lifecycle import Servers, ServerStatus, connect, down, status, up

__all__ = ["ServerStatus", "Servers", "connect", "down", "status", "up"]
