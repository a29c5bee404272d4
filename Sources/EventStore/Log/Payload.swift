/// An event's data as bytes, with what the bytes are.
public struct Payload: Hashable, Sendable {
  /// What the bytes are; kept with them.
  public enum Content: UInt8, Hashable, Sendable {
    /// Anything: nothing looks into it.
    case bytes = 0
    /// UTF-8 JSON text, kept byte for byte.
    case json = 1
  }

  /// Read back as they were given.
  public var bytes: [UInt8]
  /// Declared by the writer, and not checked against the bytes.
  public var content: Content

  /// Checks nothing: `json` is the word of the caller that they are UTF-8 JSON text.
  public init(bytes: [UInt8], content: Content = .bytes) {
    self.bytes = bytes
    self.content = content
  }

  /// JSON text. The text is stored as it is; it is not checked here.
  public static func json(_ text: String) -> Payload { Payload(bytes: Array(text.utf8), content: .json) }
}
