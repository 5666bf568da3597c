"""Health of lines and devices as counters: what `P/health/<line>` publishes and `labmon status` prints. No I/O."""
