package import FoundationEssentials
internal import PostgreSQL

/// Event ids that follow from content, for imports: the same content has the same id in this store, and who has only the
/// database cannot find out by guessing which content an id is of.
package struct ContentIDs: Sendable {
  private let key: DataKey

  /// As its row says whom the key is for.
  private static let subject = "(ids of imported rows)"

  package func id(of content: [UInt8]) -> UUID { key.key.withBytes { UUID.v8(digestOf: content, key: $0) } }

  /// The store's own, made at the first use. A rotation of the master key wraps its key anew, like every other.
  ///
  /// - Throws: ``AppendError``: `encryption` where the log has no master key; and ``PayloadError`` for a key that does not open.
  package static func ofStore(_ log: PostgreSQLEventLog) async throws -> ContentIDs {
    guard case .sealed(let keyring) = log.configuration.encryption else { throw AppendError.encryption(.noMasterKey) }
    let store = withUnsafeBytes(of: log.storeID.uuid) { Array($0) }
    // One key a store, whoever comes first.
    let id = UUID.v8(digestOf: Array(subject.utf8) + [0] + store)
    let found = try await log.database { () throws(PostgreSQLError) -> Result<DataKey, PayloadError>? in
      let lease = try await log.pool.lease()
      defer { withExtendedLifetime(lease) {} }
      let there = try await log.keys.fetch(ids: [id], lease.connection)[id]
      guard case .failure(.dataKeyMissing)? = there else { return there }
      let new = DataKey.generate(subject: subject, id: id)
      try await lease.connection.execute(
        log.queries.keepDataKey,
        Parameters(id, subject, keyring.active.id, Bytea(new.wrapped(by: keyring.active))))
      return try await log.keys.fetch(ids: [id], lease.connection)[id]
    }
    guard let found else { throw PayloadError.dataKeyMissing(key: id.uuidString.lowercased()) }
    return ContentIDs(key: try found.get())
  }
}
