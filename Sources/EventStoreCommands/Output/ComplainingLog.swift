internal import Logging

/// What a service would log, as lines on standard error.
struct ComplainingLog: LogHandler {
  var logLevel = Logger.Level.warning
  var metadata = Logger.Metadata()
  let json: Bool

  static func logger(json: Bool) -> Logger { Logger(label: "esctl") { _ in ComplainingLog(json: json) } }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    let values = metadata.merging(event.metadata ?? [:]) { $1 }.sorted { $0.key < $1.key }
    guard json else {
      let text = values.map { "\($0.key): \($0.value)" }.joined(separator: ", ")
      return StandardOutput.complain("esctl: \(event.message)" + (text.isEmpty ? "" : " (\(text))"))
    }
    let members: [(String, JSONValue)] =
      [("level", .string(event.level.rawValue)), ("message", .string("\(event.message)"))]
      + values.map { ($0.key, .string("\($0.value)")) }
    StandardOutput.complain(.object([("log", .object(members))]))
  }
}
