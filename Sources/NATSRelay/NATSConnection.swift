#if NATS
  internal import CNATS
  internal import Dispatch

  /// What became of a message.
  enum Confirmation: Sendable, Equatable {
    case stored
    /// - Parameter error: JetStream's own number, or 0.
    case refused(status: UInt32, error: UInt32, text: String)

    static func refused(_ status: natsStatus) -> Confirmation {
      .refused(status: status.rawValue, error: 0, text: String(cString: natsStatus_GetText(status)))
    }
  }

  /// The server cannot be reached.
  struct NATSUnavailable: Error {
    let problem: String
  }

  /// One connection to JetStream: made when it is needed, kept by the library, and made anew when that has given it up.
  ///
  /// What the library does may wait for the network, also when it only publishes: so that it holds up none of Swift's few threads, all of
  /// it runs on a queue of its own.
  ///
  /// Safe as `@unchecked Sendable`: `library` and `lastFailure` are touched on `queue` alone, which is serial.
  final class NATSConnection: @unchecked Sendable {
    struct Message: Sendable {
      var data: [UInt8]
      var subject: String
      /// For JetStream, which stores a message of this id once in the stream's duplicate window; `nil`: always.
      var id: String?
      var headers: [(String, String)]
    }

    private let servers: [String]
    private let credentials: String?
    private let name: String
    private let seconds: Double
    private let queue = DispatchQueue(label: "nats-relay")
    private var library: NATSLibrary?
    private var lastFailure: (at: ContinuousClock.Instant, error: NATSUnavailable)?

    init(_ servers: [String], credentials: String?, name: String, timeout: Double) {
      self.servers = servers
      self.credentials = credentials
      self.name = name
      seconds = timeout
    }

    /// Publishes a message, and waits until JetStream has stored it, or refused it, or did not answer in time.
    ///
    /// Does not heed cancellation: it ends by itself after the time-out.
    ///
    /// - Throws: ``NATSUnavailable``.
    func publish(_ message: Message) async throws -> Confirmation {
      try await withCheckedThrowingContinuation { continuation in
        queue.async {
          let library: NATSLibrary
          do { library = try self.connected() } catch { return continuation.resume(throwing: error) }
          library.publish(message, continuation)
        }
      }
    }

    private func connected() throws -> NATSLibrary {
      if let library, !library.isClosed { return library }
      // Those who have waited for the same attempt do not each make one more.
      if let lastFailure, lastFailure.at.duration(to: .now) < .seconds(1) { throw lastFailure.error }
      library = nil
      do {
        let made = try NATSLibrary(servers, credentials: credentials, name: name, seconds: seconds)
        (library, lastFailure) = (made, nil)
        return made
      } catch let error as NATSUnavailable {
        lastFailure = (.now, error)
        throw error
      }
    }
  }
#endif
