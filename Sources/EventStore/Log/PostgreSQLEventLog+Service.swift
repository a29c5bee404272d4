public import ServiceLifecycle

/// Lets a `ServiceGroup` end the log last: appends under way finish, then the connections are closed.
///
/// The log works without it; it has nothing to run.
extension PostgreSQLEventLog: Service {
  /// Waits for the graceful shutdown, then closes the log.
  public func run() async throws {
    do {
      try await gracefulShutdown()
    } catch {
      await close()
      throw error
    }
    await close()
  }
}
