internal import PostgreSQL

/// How long a call of an append may take.
struct CallLimits: Sendable {
  static let none = CallLimits()

  /// In all; `nil`: as long as the connection allows.
  var timeout: Duration?
  /// For each lock that another transaction holds; `nil`: as the session has it. Waiting for the disk, or a standby, is
  /// something else.
  var lockTimeout: Duration?
  func addLockTimeout(to parameters: inout Parameters) {
    if let lockTimeout {
      parameters.append("\(max(1, Int(lockTimeout / .milliseconds(1))))ms")
    } else {
      parameters.appendNull(TypeOID.text)
    }
  }
}

extension PostgreSQLError {
  /// A lock was held by somebody else for longer than the session, or the call, waits for one.
  var isLockTimeout: Bool { sqlState == "55P03" }
}
