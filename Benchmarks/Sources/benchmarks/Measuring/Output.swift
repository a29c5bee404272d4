import SystemPackage

/// Lines that are written at once, also into a pipe. A reader that went away is no reason to fail.
enum Output {
  static func line(_ text: String) { _ = try? FileDescriptor.standardOutput.writeAll("\(text)\n".utf8) }

  /// For people who watch: on standard error.
  static func note(_ text: String) { _ = try? FileDescriptor.standardError.writeAll("\(text)\n".utf8) }
}
