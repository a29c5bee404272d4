import EventStore
import Foundation
import Testing

@Suite("The fingerprint of a state's shape")
struct StateShapeTests {
  enum Kind: String, Codable { case small, large }
  enum OtherKind: String, Codable { case small, large, huge }
  enum Tier: Int, Codable, CaseIterable { case bronze, silver }
  enum ReorderedTier: Int, Codable, CaseIterable { case silver, bronze }
  enum RevaluedTier: Int, Codable, CaseIterable { case bronze = 1, silver }
  enum Phase: Codable { case shipped(to: Inner, Int) }
  enum OtherPhase: Codable { case shipped(to: MoreInner, Int) }
  private final class Hidden: Codable {}
  private struct HasHidden: Codable { var hidden: Hidden? }
  enum Payload: Codable { case none, number(Int), named(name: String) }
  enum OtherPayload: Codable { case none, number(String), named(name: String) }
  struct Inner: Codable { var a: Int; var b: String? }
  struct RenamedInner: Codable { var a: Int; var b: String? }
  struct ReorderedInner: Codable { var b: String?; var a: Int }
  struct MoreInner: Codable { var a: Int; var b: String?; var c: Int? }
  struct OtherNameInner: Codable { var a: Int; var bb: String? }
  struct OtherTypeInner: Codable { var a: Int; var b: Int? }
  struct Outer<I: Codable>: Codable { var list: [I]; var map: [String: I]; var one: I? }
  struct Box<K: Codable>: Codable { var content: K; var at: Date }
  class Node: Codable { var next: Node? }
  final class MoreNode: Codable { var next: MoreNode?; var name: String? }
  final class Derived: Node { var more = 0 }
  enum Alone: Int, Codable { case only = 7 }
  enum Level: Int, Codable { case low = 1, mid, high }
  enum OtherLevel: Int, Codable { case low, mid, high }
  enum SwappedKind: String, Codable { case small = "large", large = "small" }
  struct Tree: Codable { var children: [Tree]; var value: Decimal }

  private func same(_ left: Any.Type, _ right: Any.Type) -> Bool {
    StateShape.text(of: left) == StateShape.text(of: right)
  }

  @Test("names and types of fields count; the names of types and the order of fields do not")
  func fields() {
    #expect(same(Inner.self, RenamedInner.self))
    #expect(same(Inner.self, ReorderedInner.self))
    #expect(!same(Inner.self, MoreInner.self))
    #expect(!same(Inner.self, OtherNameInner.self))
    #expect(!same(Inner.self, OtherTypeInner.self))
  }

  @Test("what an empty collection or a generic type holds counts too")
  func inside() {
    #expect(same(Outer<Inner>.self, Outer<RenamedInner>.self))
    #expect(!same(Outer<Inner>.self, Outer<MoreInner>.self))
    #expect(!same([Inner].self, Set<Int>.self))
    #expect(!same([Int].self, Int?.self))
    #expect(!same([String: Int].self, [Int: String].self))
    #expect(!same(Box<Kind>.self, Box<Inner>.self))
  }

  @Test("cases of enums and their values count")
  func enums() {
    #expect(!same(Kind.self, OtherKind.self))
    #expect(!same(Payload.self, OtherPayload.self))
    #expect(!same(Box<Kind>.self, Box<OtherKind>.self))
    #expect(!same(Tier.self, ReorderedTier.self) && !same(Tier.self, RevaluedTier.self))
    #expect(!same(Level.self, OtherLevel.self) && !same(Kind.self, SwappedKind.self))
    #expect(!same(Phase.self, OtherPhase.self))
    #expect(!same(CollectionOfOne<Box<Kind>>.self, CollectionOfOne<Box<OtherKind>>.self))
  }

  @Test("what a class holds counts, and what its superclass does")
  func classes() {
    #expect(!same(Node.self, MoreNode.self) && !same(Node.self, Derived.self))
    #expect(!same([Node].self, [MoreNode].self))
  }

  @Test("it is written the same in every process, and recursion ends")
  func text() {
    #expect(StateShape.text(of: Inner.self) == "{a:Int;b:?<String,>;}")
    #expect(StateShape.text(of: Payload.self) == "enum{number:Int;named:(name:String,);none:;}")
    #expect(StateShape.text(of: Tree.self) == "{children:[]<^0,>;value:Decimal;}")
    #expect(StateShape.text(of: Box<Kind>.self) == "{at:Date;content:enum[small,large]{small:;large:;};}")
    #expect(StateShape.text(of: Node.self) == "{next:?<^0,>;}")
    #expect(StateShape.text(of: Derived.self) == "{{next:?<^1,>;};more:Int;}")
    #expect(StateShape.text(of: Alone.self) == "enum[7]{only:;}")
    #expect(!StateShape.text(of: HasHidden.self).contains("$"))
    #expect(StateShape.fingerprint(ofText: StateShape.text(of: Tree.self)).count == 16)
  }
}
