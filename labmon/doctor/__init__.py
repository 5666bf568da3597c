"""What a support engineer would look at first, each with its remedy. Looks, and changes nothing."""
