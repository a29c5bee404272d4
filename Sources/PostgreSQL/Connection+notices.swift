internal import CPostgreSQL
internal import Synchronization

/// What the server says beside its results. It is for psql, but for one thing: that a statement whose result is success was
/// committed here, and that the wait for a synchronous standby to have it was cancelled.
extension Connection {
  /// libpq calls the receiver from the calls that read, which are made under this connection's lock and while it lives.
  func receiveNotices(of pg: OpaquePointer) {
    PQsetNoticeReceiver(
      pg,
      { connection, notice in
        guard let connection, let function = PQresultErrorField(notice, Int32(UInt8(ascii: "R"))) else { return }
        // The function of the server that says it (syncrep.c): the text is in the server's language, the code that of any
        // warning.
        guard String(cString: function) == "SyncRepWaitForLSN" else { return }
        Unmanaged<Connection>.fromOpaque(connection).takeUnretainedValue()
          .isStandbyGivenUp.store(true, ordering: .relaxed)
      }, Unmanaged.passUnretained(self).toOpaque())
  }

  /// What the statement that has just ended is told, if nobody waits for a standby any more.
  func confirmed(_ result: Result<Rows, PostgreSQLError>) -> Result<Rows, PostgreSQLError> {
    guard isStandbyGivenUp.load(ordering: .relaxed) else { return result }
    isStandbyGivenUp.store(false, ordering: .relaxed)
    return result.flatMap { _ in
      .failure(
        PostgreSQLError(
          .unconfirmed,
          "it is committed on this server, but the wait for a synchronous standby to have it was cancelled: should the "
            + "server be lost now, it may be too"))
    }
  }
}
