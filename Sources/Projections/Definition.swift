internal import EventStore
internal import PostgreSQL
internal import Replay

/// What a projection is, wherever it is written down.
enum Definition: Sendable {
  case sql(ReadModel)
  case swift(any Projection)
  case external(any ExternalProjection)
  /// In the code of a service that is not this program: what is known of it is how it is live.
  case elsewhere(ProjectionBuild)

  var name: String {
    switch self {
    case .sql(let model): model.name
    case .swift(let projection): projection.name
    case .external(let projection): projection.name
    case .elsewhere(let build): build.name
    }
  }

  var version: Int {
    switch self {
    case .sql(let model): model.version
    case .swift(let projection): projection.version
    case .external(let projection): projection.version
    case .elsewhere(let build): build.version
    }
  }

  var kind: ProjectionBuild.Kind {
    switch self {
    case .sql: .sql
    case .swift: .swift
    case .external: .external
    case .elsewhere(let build): build.kind
    }
  }

  var filter: LogFilter {
    switch self {
    case .sql(let model): model.filter
    case .swift(let projection): projection.filter
    case .external(let projection): projection.filter
    case .elsewhere(let build): build.filter
    }
  }

  var errorPolicy: ErrorPolicy {
    switch self {
    case .sql(let model): model.errorPolicy
    case .swift(let projection): projection.errorPolicy
    case .external(let projection): projection.errorPolicy
    case .elsewhere: .stop
    }
  }

  var streamsAreIndependent: Bool {
    switch self {
    case .sql(let model): model.streamsAreIndependent
    case .swift(let projection): projection.streamsAreIndependent
    case .external: false
    case .elsewhere(let build): build.isInline
    }
  }

  var isInline: Bool {
    switch self {
    case .sql(let model): model.isInline
    case .swift(let projection): projection.isInline
    case .external: false
    case .elsewhere(let build): build.isInline
    }
  }

  var hasTables: Bool { kind != .external }

  /// The file's text; what is in code has none.
  var source: String? { if case .sql(let model) = self { model.source } else { nil } }

  /// The file, or the Swift type.
  var origin: String {
    switch self {
    case .sql(let model): model.file
    case .swift(let projection): "\(type(of: projection))"
    case .external(let projection): "\(type(of: projection))"
    case .elsewhere(let build): build.origin
    }
  }

  /// - Throws: ``ProjectionError`` with `invalid`.
  func check() throws(ProjectionError) {
    let isLower = { (byte: UInt8) in (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) }
    let isNamePart = { (byte: UInt8) in
      isLower(byte) || byte == UInt8(ascii: "_") || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }
    guard name.utf8.count <= 40, let first = name.utf8.first, isLower(first), name.utf8.allSatisfy(isNamePart) else {
      throw .invalid(
        "\(name.debugDescription) is no projection's name: 1 to 40 characters of a-z, 0-9 and _, starting with a letter"
      )
    }
    guard (1...Int(Int32.max)).contains(version) else { throw .invalid("version \(version): versions start at 1") }
    guard !isInline || streamsAreIndependent else {
      throw .invalid(
        "\(name) is inline, and its streams are not independent: appends to different streams commit in any order")
    }
  }
}
