/// The master keys that this process may use: any of them opens, the active one wraps what is new.
///
/// As text, in a file, an environment variable or a vault, it has one key a line; the last is the active one:
///
/// ```
/// # a comment
/// mk_0123456789abcdef <base64 of 32 bytes>
/// ```
///
/// Whoever has the keyring can read the data; without it nobody can. Keep a copy, but not with the
/// database's.
public struct Keyring: Sendable {
  /// In the order of the text, at least one.
  private let keys: [MasterKey]
  /// The last key: it wraps new data keys.
  public let active: MasterKey

  /// - Parameter keys: From the oldest on; nil comes back for none.
  package init?(_ keys: [MasterKey]) {
    guard let active = keys.last else { return nil }
    self.keys = keys
    self.active = active
  }

  /// A keyring of one new key, in memory only: for tests and for trying things out. Its data is lost with it.
  ///
  /// - Throws: ``EncryptionError/aesUnavailable``, ``EncryptionError/libraryUnavailable``.
  public static func ephemeral() throws(EncryptionError) -> Keyring {
    let key = try MasterKey.generate()
    return Keyring(active: key)
  }

  private init(active: MasterKey) {
    self.keys = [active]
    self.active = active
  }

  /// The key with this id, or nil.
  public subscript(id: String) -> MasterKey? { keys.first { $0.id == id } }

  /// All ids, from the oldest to the active one.
  public var ids: [String] { keys.map(\.id) }
}

extension Keyring: CustomStringConvertible {
  /// The ids only.
  public var description: String { "Keyring(\(ids.joined(separator: ", ")))" }
}
