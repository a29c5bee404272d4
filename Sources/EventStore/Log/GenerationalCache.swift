/// A dictionary that forgets what was not used lately, so that it holds between `capacity` and twice that.
///
/// Two generations: what is found in the older one moves to the younger; when that is full, the older is dropped.
struct GenerationalCache<Key: Hashable & Sendable, Value: Sendable>: Sendable {
  private let capacity: Int
  private var young: [Key: Value] = [:]
  private var old: [Key: Value] = [:]

  init(capacity: Int) { self.capacity = capacity }

  subscript(key: Key) -> Value? {
    mutating get {
      if let value = young[key] { return value }
      guard let value = old.removeValue(forKey: key) else { return nil }
      insert(key, value)
      return value
    }
    set {
      old[key] = nil
      if let newValue { insert(key, newValue) } else { young[key] = nil }
    }
  }

  private mutating func insert(_ key: Key, _ value: Value) {
    if young.count >= capacity {
      old = young
      young = [:]
    }
    young[key] = value
  }
}
