/// Text as a word of a POSIX shell, for commands that we propose: it may come from data, and they may be pasted.
enum ShellWord {
  static func quoted(_ text: String) -> String {
    "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
  }
}
