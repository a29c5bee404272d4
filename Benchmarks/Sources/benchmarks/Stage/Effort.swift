/// How much is done: rounds, their length, and the sizes of what is read and imported.
struct Effort: Sendable {
  let rounds: Int
  let roundDuration: Duration
  /// Events that scans and stream reads find; a multiple of 100.
  let eventsToRead: Int
  let rowsToImport: Int
  /// Where the command line tool is, for the import.
  let esctl: String?

  init(rounds: Int?, isQuick: Bool, esctl: String?) {
    self.rounds = rounds ?? (isQuick ? 3 : 15)
    roundDuration = isQuick ? .milliseconds(250) : .milliseconds(700)
    eventsToRead = isQuick ? 100_000 : 1_000_000
    rowsToImport = isQuick ? 50_000 : 1_000_000
    self.esctl = esctl
  }
}
