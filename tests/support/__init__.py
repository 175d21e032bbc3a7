"""What tests share: real servers, started by the code that starts them for users."""
