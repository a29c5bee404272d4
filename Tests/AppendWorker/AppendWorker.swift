import EventStore
import Foundation

/// A process whose tasks append until it is killed, for a test that does so. What an append has returned is a line of a file,
/// by one write: it is there, whatever becomes of this process. The connection string and the keyring's path come by the
/// environment.
///
/// Arguments: the file; how many tasks.
@main
struct AppendWorker {
  static func main() async throws {
    let arguments = CommandLine.arguments
    let environment = ProcessInfo.processInfo.environment
    guard arguments.count == 3, let count = Int(arguments[2]), let url = environment["EVENTSTORE_URL"],
      let keyring = environment["EVENTSTORE_KEYRING"]
    else { fatalError("usage: append-worker FILE TASKS") }
    let journal = open(arguments[1], O_WRONLY | O_APPEND | O_CREAT, 0o600)
    let log = try await PostgreSQLEventLog.open(
      EventLogConfiguration(url, encryption: .sealed(try Keyring.open(file: keyring))))
    try await withThrowingTaskGroup { tasks in
      for task in 0..<count {
        tasks.addTask {
          let own = try StreamName(category: "own", id: "\(getpid())-\(task)")
          var version = 0
          while true {
            let isShared = Int.random(in: 0..<3) == 0
            let stream = isShared ? "shared-1" : own
            let event = EventData(type: "test.happened", payload: .json("{\"process\":\(getpid())}"))
            let appended = try await log.append(
              [event], to: stream, expecting: isShared ? .any : .exact(version))
            if !isShared { version = appended.version }
            let line = "\(event.id) \(stream) \(appended.version) \(appended.positions[0])\n"
            _ = line.utf8CString.withUnsafeBytes { write(journal, $0.baseAddress, $0.count - 1) }
          }
        }
      }
      try await tasks.waitForAll()
    }
  }
}
