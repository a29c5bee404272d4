internal import Foundation
internal import Synchronization

#if canImport(FoundationNetworking)
  internal import FoundationNetworking
#endif

/// Requests that are under way. Of an answer its head counts: the body is read, so that the connection can be used again, but it is
/// not kept, and no endpoint makes it last for ever.
///
/// A redirect is an answer like any other: events go where they were meant to go.
final class WebhookExchanges: NSObject, URLSessionDataDelegate, Sendable {
  private struct Exchange {
    let continuation: CheckedContinuation<URLResponse, any Error>
    var response: URLResponse?
    var bytes = 0
  }
  private let exchanges = Mutex<[Int: Exchange]>([:])

  /// Of a body, so many bytes are waited for.
  static let mostBytes = 65_536

  /// Sends a request.
  ///
  /// - Parameter seconds: The head of the answer comes within this time, or not at all; its body is waited for no longer, either.
  func response(to request: URLRequest, in session: URLSession, within seconds: Double) async throws -> URLResponse {
    let task = session.dataTask(with: request)
    let timer = Task {
      try await Task.sleep(for: .seconds(seconds))
      self.end(task, URLError(.timedOut))
    }
    defer { timer.cancel() }
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        exchanges.withLock { $0[task.taskIdentifier] = Exchange(continuation: continuation) }
        // A task that was cancelled before it began would say nothing.
        if Task.isCancelled { end(task, CancellationError()) } else { task.resume() }
      }
    } onCancel: {
      end(task, CancellationError())
    }
  }

  /// Whatever comes of it afterwards is nobody's concern.
  private func end(_ task: URLSessionTask, _ error: any Error) {
    guard let exchange = exchanges.withLock({ $0.removeValue(forKey: task.taskIdentifier) }) else { return }
    if let response = exchange.response {
      exchange.continuation.resume(returning: response)
    } else {
      exchange.continuation.resume(throwing: error)
    }
    task.cancel()
  }

  // MARK: What the session says

  func urlSession(
    _ session: URLSession, dataTask: URLSessionDataTask, didReceive response: URLResponse,
    completionHandler: @escaping (URLSession.ResponseDisposition) -> Void
  ) {
    exchanges.withLock { $0[dataTask.taskIdentifier]?.response = response }
    completionHandler(.allow)
  }

  func urlSession(_ session: URLSession, dataTask: URLSessionDataTask, didReceive data: Data) {
    let isTooMuch = exchanges.withLock { exchanges in
      exchanges[dataTask.taskIdentifier]?.bytes += data.count
      return exchanges[dataTask.taskIdentifier].map { $0.bytes > Self.mostBytes } ?? false
    }
    if isTooMuch { end(dataTask, URLError(.dataLengthExceedsMaximum)) }
  }

  func urlSession(_ session: URLSession, task: URLSessionTask, didCompleteWithError error: (any Error)?) {
    let response = task.response
    exchanges.withLock { exchanges in
      if error == nil, exchanges[task.taskIdentifier]?.response == nil {
        exchanges[task.taskIdentifier]?.response = response
      }
    }
    end(task, error ?? URLError(.badServerResponse))
  }

  func urlSession(
    _ session: URLSession, task: URLSessionTask, willPerformHTTPRedirection response: HTTPURLResponse,
    newRequest request: URLRequest, completionHandler: @escaping (URLRequest?) -> Void
  ) {
    completionHandler(nil)
  }
}
