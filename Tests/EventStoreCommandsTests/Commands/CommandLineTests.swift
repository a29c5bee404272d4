import Testing

/// Tests that run `esctl`. One at a time: each is several processes already.
@Suite("The command line", .serialized)
enum CommandLineTests {}
