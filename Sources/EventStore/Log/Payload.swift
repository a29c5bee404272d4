/// An event's data as bytes, with what the bytes are.
public struct Payload: Hashable, Sendable {
  public enum Content: UInt8, Hashable, Sendable {
    case bytes = 0
    /// UTF-8 JSON text, kept byte for byte.
    case json = 1
  }

  public var bytes: [UInt8]
  public var content: Content

  public init(bytes: [UInt8], content: Content = .bytes) {
    self.bytes = bytes
    self.content = content
  }

  /// JSON text. The text is stored as it is; it is not checked here.
  public static func json(_ text: String) -> Payload { Payload(bytes: Array(text.utf8), content: .json) }
}
