public import SystemPackage

/// Why no PostgreSQL server could be used.
public enum PostgreSQLInstallationError: Error, Hashable, CustomStringConvertible {
  /// None of the directories holds both `postgres` and `initdb`.
  case notFound(searched: [FilePath])

  /// Servers are installed, but of other releases than the one required (`nil`: any supported one).
  case unsuitable(found: [PostgreSQLInstallation], required: Int?)

  public var description: String {
    let majors = PostgreSQLInstallation.supportedMajors
    switch self {
    case .notFound(let searched):
      let list = searched.map(\.string).joined(separator: ", ")
      return """
        No PostgreSQL server found: expected `postgres` and `initdb` of release \(majors.lowerBound) to \
        \(majors.upperBound) in one of: \(list). Install one, on Debian and Ubuntu with \
        `apt-get install postgresql`, or name the directory of its programs.
        """
    case .unsuitable(let found, let required):
      let list = found.map { "\($0.major) in \($0.binaryDirectory)" }.joined(separator: ", ")
      let wanted = required.map { "\($0)" } ?? "\(majors.lowerBound) to \(majors.upperBound)"
      let package = required.map { "postgresql-\($0)" } ?? "postgresql"
      return """
        PostgreSQL \(wanted) is needed, but found only: \(list). Install it, on Debian and Ubuntu with \
        `apt-get install \(package)`, or name the directory of its programs.
        """
    }
  }
}
