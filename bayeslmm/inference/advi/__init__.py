"""Normal approximations by variational inference."""
