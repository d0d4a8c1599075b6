"""What can happen in Storyworld, and how it is said: every event kind with its English and Chinese forms.

One row is one event kind::

    Kind(name, weight, "t:held B:here", "t>B", "B:happy", [(english, chinese), ...])

*Needs* say where each role comes from. ``A`` is always the person who acts.

====  =========================================================================================
t     ``held`` by A, lying ``here``, ``new`` to the story, lying elsewhere (``lost``), held by B (``Bs``),
      held by an absent B (``Bs`` with ``B:apart``)
u     ``Bs``: a second thing, held by B
B     ``here`` with A, ``new`` to the story, ``apart`` from A, here and ``angry``, here and ``sad``
p     any ``other`` place
====  =========================================================================================

Two places follow from the roles: ``h`` is where A is, ``q`` is where t lies (or where B is, if B is apart).

*Effects*: ``t>B`` (B holds t), ``t>h`` (t lies where A is), ``A>p`` (A goes to p), ``B>h``, and so on, from left to
right.

*Moods*: what the event does to a person's mood.

A *form* is a pair. Without ``=`` it is a predicate, said of the subject A and able to stand second in "… and …"; with
``=`` it is a whole sentence. Several English forms with one Chinese form are meant: there translation is ambiguous,
as it is in life. Every form mentions every role in both languages, so that the text tells what happened; a test holds
this. ``~`` marks a predicate that is too long, or tells of a state, so that "… and …" would sound wrong.

Slots: ``{A}`` subject, ``{Ao}`` the same person as an object, ``{B}`` (may become *him*), ``{Bn}`` (never), ``{t}``
(may become *it*), ``{T}`` and ``{U}`` (never *it*), ``{new_t}``, places ``{p} {h} {q}`` with preposition ``{at_p}``
(Chinese ``{in_p}`` is the place with its locative, 花园里), pronouns of A (``{he} {him} {his} {himself} {他}``) and B
(``{B_he} {B_his}``), ``{X}`` a bare proper name of any type, and the lexicon's lists.
"""

from typing import NamedTuple


class Kind(NamedTuple):
    name: str
    weight: int
    needs: str
    effects: str
    moods: str
    forms: list[tuple[str, str]]


OPENING_KINDS = [
    Kind("begin", 1, "A:new p:other", "A>p", "", [
        ("={opening}, {A} was {at_p}", "={opening}，{A}在{in_p}"),
        ("={opening}, {A} was sitting {at_p} with nothing to do", "={opening}，{A}坐在{in_p}，无事可做"),
        ("={opening}, {A} set off for {p}", "={opening}，{A}动身去了{p}"),
        ("={opening}, {A} was on {his} own {at_p}", "={opening}，{A}一个人在{in_p}"),
        ("={opening}, a {girl} called {A} came to {p}", "={opening}，一个叫{A}的{女孩}来到了{p}"),
        ("={A} was already {at_p} when the day began", "=天刚亮，{A}就已经在{in_p}了"),
        ("={A} was a {girl} who loved {p} more than any other place", "={A}是个{女孩}，最喜欢的地方就是{p}"),
        ("=This is the story of {A}, and it begins {at_p}", "=这是{A}的故事，从{p}说起"),
    ]),
]  # fmt: skip

# The first kinds of this list that are marked easy (see EASY) make up the easy level.
KINDS = [
    # --- going about -------------------------------------------------------------------------------------------------
    Kind("go", 18, "p:other", "A>p", "", [
        ("went to {p}", "去了{p}"),
        ("walked to {p}", "走到了{p}"),
        ("headed for {p}", "去了{p}"),
        ("ran all the way to {p}", "一路跑到了{p}"),
        ("hurried off to {p}", "匆匆赶到了{p}"),
        ("wandered {manner} over to {p}", "{manner}走到了{p}"),
    ]),
    Kind("go_together", 22, "B:here p:other", "A>p B>p", "", [
        ("went to {p} with {B}", "和{B}一起去了{p}"),
        ("took {B} along to {p}", "带着{B}去了{p}"),
        ("={A} and {Bn} went to {p} together", "={A}和{B}一起去了{p}"),
        ("led {B} by the hand to {p}", "拉着{B}的手去了{p}"),
        ("raced {B} to {p}", "和{B}赛跑，一直跑到了{p}"),
    ]),
    Kind("join", 14, "B:apart", "A>q", "", [
        ("~found {B} {at_q}", "在{in_q}找到了{B}"),
        ("joined {B} {at_q}", "到{q}和{B}会合"),
        ("ran to {q} to see {B}", "跑到{q}去看{B}"),
        ("~went looking for {B}, who was still {at_q}", "去找还在{in_q}的{B}"),
    ]),
    Kind("call_over", 7, "B:apart", "B>h", "", [
        ("called {B} over", "把{B}叫了过来"),
        ("~sent for {B}, who came at once", "让人去叫{B}，{B_he}马上就来了"),
        ("~waved until {Bn} came", "一直挥手，直到{B}走过来"),
    ]),
    Kind("meet", 30, "B:new", "B>h", "", [
        ("met {B}", "遇见了{B}"),
        ("ran into {B}", "碰到了{B}"),
        ("bumped into {B}", "碰到了{B}"),
        ("~saw {B} coming round the corner", "看见{B}从拐角走过来"),
        ("=someone called {B} came up to {Ao} and said hello", "=一个叫{B}的人走过来，跟{Ao}打了个招呼"),
    ]),
    Kind("send_away", 6, "B:here p:other", "B>p", "", [
        ("sent {B} to {p}", "让{B}去{p}"),
        ("~said goodbye to {B}, who left for {p}", "送走了要去{p}的{B}"),
        ("asked {B} to wait {at_p}", "请{B}到{p}等着"),
    ]),
    Kind("chased", 3, "p:other", "A>p", "A:scared", [
        ("={animal} chased {Ao} all the way to {p}", "={animal}把{Ao}一直追到了{p}"),
        ("fled from {animal} to {p}", "为了躲开{animal}，逃到了{p}"),
        ("~ran away from {animal} and did not stop before {p}", "看见{animal}，转身就跑，一直跑到了{p}"),
    ]),
    # --- a thing comes into the story --------------------------------------------------------------------------------
    Kind("find_new", 8, "t:new", "t>A", "", [
        ("found {new_t}", "发现了{new_t}"),
        ("came across {new_t}", "偶然发现了{new_t}"),
        ("~picked up {new_t} that nobody seemed to own", "捡到了{new_t}，好像没有主人"),
        ("pulled {new_t} out of the grass", "从草丛里拽出了{new_t}"),
        ("~saw {new_t} {hiding} and picked it up", "看见{hiding}有{new_t}，就捡了起来"),
    ]),
    Kind("have", 6, "t:new", "t>A", "", [
        ("~had {new_t}", "有{new_t}"),
        ("~was carrying {new_t}", "手里拿着{new_t}"),
        ("~had brought {new_t}", "带来了{new_t}"),
        ("~never went anywhere without {new_t}", "走到哪儿都带着{new_t}"),
    ]),
    Kind("buy", 5, "t:new", "t>A", "", [
        ("bought {new_t}", "买了{new_t}"),
        ("paid {amount} small coins for {new_t}", "花{amount}枚小硬币买了{new_t}"),
        ("traded a song about {song} for {new_t}", "用一首关于{song}的歌换来了{new_t}"),
        ("won {new_t} at the fair", "在集市上赢得了{new_t}"),
    ]),
    Kind("post", 3, "t:new", "t>A", "A:happy", [
        ("got {new_t} in the post", "收到了邮差送来的{new_t}"),
        ("=a parcel came for {Ao}, and inside was {new_t}", "=有人给{Ao}寄来一个包裹，里面是{new_t}"),
        ("~unwrapped a parcel and found {new_t} inside", "拆开一个包裹，里面有{new_t}"),
    ]),
    Kind("present", 8, "B:here t:new", "t>B", "B:happy", [
        ("gave {B} {new_t} as a present", "送给{B}{new_t}作礼物"),
        ("surprised {B} with {new_t}", "出人意料地送给{B}{new_t}"),
        ("~had {new_t} for {B}", "给{B}准备了{new_t}"),
    ]),
    Kind("show_new", 6, "B:here t:new", "t>A", "", [
        ("showed {B} {new_t}", "给{B}看了{new_t}"),
        ("~pulled out {new_t} and {Bn} stared at it", "掏出{new_t}，{B}看得目不转睛"),
    ]),
    # --- a thing changes hands ---------------------------------------------------------------------------------------
    Kind("give", 30, "t:held B:here", "t>B", "B:happy", [
        ("gave {t} to {B}", "把{t}给了{B}"),
        ("gave {B} {T}", "把{t}给了{B}"),
        ("handed {t} to {B} {manner}", "{manner}把{t}递给了{B}"),
        ("let {B} have {T}", "让{B}拿走了{t}"),
        ("made {B} a present of {t}", "把{t}送给了{B}"),
    ]),
    Kind("lend", 12, "t:held B:here", "t>B", "", [
        ("lent {t} to {B}", "把{t}借给了{B}"),
        ("let {B} borrow {T}", "把{t}借给了{B}"),
        ("threw {t} to {B}", "把{t}扔给了{B}"),
    ]),
    Kind("take", 14, "B:here t:Bs", "t>A", "B:angry", [
        ("took {t} away from {B}", "从{B}那里拿走了{t}"),
        ("snatched {t} out of {Bs} hands", "从{B}手里抢走了{t}"),
        ("~grabbed {T} and would not give {it} back to {B}", "抢过{t}，不肯还给{B}"),
    ]),
    Kind("borrow", 10, "B:here t:Bs", "t>A", "", [
        ("borrowed {t} from {B}", "向{B}借了{t}"),
        ("~asked {B} for {T} and got {it}", "向{B}要{T}，要到了"),
        ("talked {B} into giving up {T}", "说服{B}让出了{t}"),
    ]),
    Kind("swap", 8, "t:held B:here u:Bs", "t>B u>A", "A:happy B:happy", [
        ("swapped {T} for {U} with {B}", "用{T}跟{B}换了{U}"),
        ("~gave {B} {T} and got {U} for it", "把{T}给了{B}，换来了{U}"),
    ]),
    # --- a thing is put somewhere and found again --------------------------------------------------------------------
    Kind("put_down", 14, "t:held", "t>h", "", [
        ("put {t} down {at_h}", "把{t}放在了{in_h}"),
        ("left {t} {at_h}", "把{t}留在了{in_h}"),
        ("laid {t} down {manner} {at_h}", "{manner}把{t}放在了{in_h}"),
    ]),
    Kind("hide_thing", 9, "t:held", "t>h", "", [
        ("hid {t} {hiding} {at_h}", "把{t}藏在{in_h}的{hiding}"),
        ("~tucked {t} away {hiding} {at_h}, where nobody would look", "把{t}塞到{in_h}的{hiding}，谁也不会去那儿看"),
    ]),
    Kind("leave_behind", 12, "t:held p:other", "t>h A>p", "", [
        ("~went to {p} and left {T} {at_h}", "去了{p}，把{t}落在了{in_h}"),
        ("~set off for {p}, and {T} stayed {at_h}", "动身去了{p}，{T}留在了{in_h}"),
        ("~ran off to {p} and forgot {T} {at_h}", "跑到了{p}，把{t}忘在了{in_h}"),
    ]),
    Kind("drop", 6, "t:held", "t>h", "A:sad", [
        ("dropped {t} in the mud", "一不小心把{t}掉进了泥里"),
        ("~tripped, and {T} fell to the ground", "绊了一跤，{T}掉在了地上"),
        ("~let {t} slip and could not hold on to it", "手一滑，没拿住{t}"),
    ]),
    Kind("pick_up", 24, "t:here", "t>A", "", [
        ("picked up {T}", "捡起了{t}"),
        ("picked {T} up again", "又捡起了{t}"),
        ("~was glad to see that {T} was still there, and took {it}", "看到{T}还在那里很高兴，就拿走了"),
        ("put {T} into a pocket", "把{t}装进了口袋"),
    ]),
    Kind("fetch", 30, "t:lost", "A>q t>A", "A:happy", [
        ("went back to {q} for {t}", "回到{q}拿了{t}"),
        ("~ran back to {q} and picked up {T}", "跑回{q}，捡起了{t}"),
        ("~hurried to {q}, where {T} was still waiting, and took {it}", "赶到{q}，{T}还在那儿等着，就拿上了"),
    ]),
    Kind("remember", 14, "t:lost", "", "", [
        ("~remembered that {T} was still {at_q}", "想起{T}还在{in_q}"),
        ("~thought of {T}, all alone {at_q}", "想到{T}孤零零地在{in_q}"),
        ("~hoped that nobody {at_q} would find {T}", "希望{in_q}没有人会发现{T}"),
    ]),
    Kind("search", 8, "t:lost", "", "A:sad", [
        ("looked everywhere for {t}", "到处找{t}"),
        ("~could not remember where {T} was", "想不起来{T}在哪儿了"),
        ("searched {his} pockets for {t}", "翻遍了口袋找{t}"),
        ("turned the place upside down looking for {t}", "为了找{t}，把这儿翻了个底朝天"),
    ]),
    Kind("tell_where", 10, "B:here t:lost", "", "", [
        ("~told {B} that {T} was {at_q}", "告诉{B}，{T}在{in_q}"),
        ("~asked {B} whether {T} was still {at_q}", "问{B}，{T}是不是还在{in_q}"),
    ]),
    Kind("wind", 4, "t:held p:other", "t>p", "A:sad", [
        ("=the wind took {T} from {Ao} and carried it to {p}", "=一阵风从{Ao}手里卷走了{t}，吹到了{p}"),
        ("~watched the wind carry {T} off to {p}", "眼看着风把{t}吹到了{p}"),
    ]),
    Kind("thief", 5, "t:held p:other", "t>p", "A:angry", [
        ("={animal} stole {T} from {Ao} and dropped it {at_p}", "={animal}偷走了{Ao}的{T}，丢在了{in_p}"),
        ("~watched {animal} run off with {T} and drop it {at_p}", "眼看着{animal}叼走{t}，丢在了{in_p}"),
    ]),
    # --- with a thing, with a friend ---------------------------------------------------------------------------------
    Kind("play_with", 6, "t:held", "", "A:happy", [
        ("polished {t} until it shone", "把{t}擦得闪闪发亮"),
        ("turned {t} over and over", "把{t}翻来覆去地看"),
        ("sang to {t}", "对着{t}唱歌"),
        ("held {t} up to the light", "把{t}举到亮处看"),
        ("~talked to {t} as if it could hear", "对着{t}说话，好像它能听见似的"),
    ]),
    Kind("show", 8, "t:held B:here", "", "", [
        ("showed {t} to {B}", "把{t}拿给{B}看"),
        ("let {B} hold {T} for a moment", "让{B}拿了一会儿{t}"),
        ("~would not let {B} touch {T}", "不让{B}碰{t}"),
    ]),
    Kind("quarrel", 8, "t:held B:here", "", "A:angry B:angry", [
        ("quarrelled with {B} over {t}", "为了{t}和{B}吵了一架"),
        ("={A} and {Bn} could not agree who owned {T}", "={A}和{B}为{T}是谁的争个不停"),
    ]),
    Kind("wonder", 8, "B:apart t:Bs", "", "", [
        ("~wondered what {Bn} was doing with {T}", "想知道{B}拿着{t}在做什么"),
        ("~hoped that {Bn} was taking good care of {T}", "希望{B}好好照看{t}"),
        ("~remembered that {Bn} still had {T}", "想起{T}还在{B}手里"),
    ]),
    Kind("share", 8, "B:here", "", "A:happy B:happy", [
        ("shared {food} with {B}", "和{B}分着吃了{food}"),
        ("~gave half of {food} to {B}", "把{food}分给{B}一半"),
        ("={A} and {Bn} ate {food} together", "={A}和{B}一起吃了{food}"),
    ]),
    Kind("eat", 3, "", "", "", [
        ("ate {food}", "吃了{food}"),
        ("ate {food} {manner}", "{manner}吃了{food}"),
        ("had {food} all to {himself}", "一个人吃掉了{food}"),
    ]),
    Kind("game", 6, "B:here", "", "A:happy B:happy", [
        ("played {game} with {B}", "和{B}一起玩{game}"),
        ("taught {B} to play {game}", "教{B}玩{game}"),
    ]),
    Kind("win", 5, "B:here", "", "A:happy B:sad", [
        ("beat {B} at {game}", "玩{game}赢了{B}"),
        ("~won against {B} at {game}, {amount} times in a row", "玩{game}连赢了{B}{amount}次"),
    ]),
    Kind("lose", 5, "B:here", "", "A:sad B:happy", [
        ("lost to {B} at {game}", "玩{game}输给了{B}"),
        ("~played {game} with {B} and lost every time", "和{B}玩{game}，每次都输"),
    ]),
    Kind("tell_story", 6, "B:here", "", "B:happy", [
        ("told {B} a story about {song}", "给{B}讲了一个关于{song}的故事"),
        ("~made {B} laugh with a joke about {song}", "讲了个关于{song}的笑话，把{B}逗笑了"),
    ]),
    Kind("whisper", 5, "B:here", "", "", [
        ("whispered a secret to {B}", "悄悄告诉{B}一个秘密"),
        ("told {B} a secret", "告诉{B}一个秘密"),
        ("={A} and {Bn} made a plan", "={A}和{B}一起想了个主意"),
    ]),
    Kind("startle", 5, "B:here", "", "B:scared", [
        ("jumped out and scared {B}", "跳出来吓了{B}一跳"),
        ("~crept up behind {B} and shouted", "悄悄走到{B}身后，大喊了一声"),
    ]),
    Kind("apologise", 24, "B:angry", "", "B:happy", [
        ("said sorry to {B}", "向{B}道了歉"),
        ("apologised to {B}", "向{B}道了歉"),
        ("made it up with {B}", "和{B}和好了"),
    ]),
    Kind("comfort", 16, "B:sad", "", "B:happy", [
        ("hugged {B}", "抱了抱{B}"),
        ("cheered {B} up", "让{B}高兴起来"),
        ("~sat down beside {B} and said nothing, and that helped", "坐到{B}身边，什么也没说，{B_he}却好受多了"),
    ]),
    Kind("wait", 5, "B:apart", "", "A:sad", [
        ("waited for {B}", "等着{B}"),
        ("~waited a long time for {B}, who did not come", "等了{B}很久，{B_he}也没来"),
    ]),
    # --- alone -------------------------------------------------------------------------------------------------------
    Kind("feel", 16, "A:fresh", "", "A:told", [
        ("was {feel}", "{feel}"),
        ("felt {feel}", "{feel}"),
        ("~was {feel} and wanted the whole world to know", "{feel}，真想让全世界都知道"),
    ]),
    Kind("hear", 4, "", "", "A:scared", [
        ("heard {sound}", "听见{sound}"),
        ("~heard {sound} and stood quite still", "听见{sound}，一动也不敢动"),
        ("~froze at the sound of {sound}", "被{sound}吓呆了"),
    ]),
    Kind("watch", 3, "", "", "", [
        ("watched {animal} for a long time", "久久地看着{animal}"),
        ("made friends with {animal}", "和{animal}交上了朋友"),
        ("={animal} followed {Ao} about", "={animal}老是跟着{Ao}"),
    ]),
    Kind("sing", 2, "", "", "", [
        ("sang a song about {song}", "唱了一首关于{song}的歌"),
        ("made up a poem about {song}", "编了一首关于{song}的诗"),
        ("hummed a tune {manner}", "{manner}哼着小曲"),
    ]),
    Kind("count", 1, "", "", "", [
        ("counted to {number}", "数到了{number}"),
        ("counted {amount} clouds", "数了{amount}朵云"),
    ]),
    Kind("sleep", 2, "", "", "A:calm", [
        ("fell asleep {at_h}", "在{in_h}睡着了"),
        ("took a long nap {at_h}", "在{in_h}睡了一大觉"),
        ("~lay down {hiding} {at_h} and closed {his} eyes", "在{in_h}的{hiding}躺下，闭上了眼睛"),
    ]),
    Kind("hide", 2, "", "", "A:scared", [
        ("hid {hiding}", "躲在{hiding}"),
        ("~crouched {hiding} and hardly dared to breathe", "蹲在{hiding}，大气也不敢出"),
    ]),
    Kind("rain", 3, "", "", "A:sad", [
        ("=it began to rain, and {A} got wet to the skin", "=下起雨来，把{Ao}淋得湿透了"),
        ("got caught in the rain", "被雨淋了"),
        ("slipped on a wet stone", "在湿石头上滑了一跤"),
    ]),
    Kind("climb", 2, "", "", "A:happy", [
        ("~climbed a tall tree and looked around", "爬上一棵大树，四处张望"),
        ("skipped stones across a puddle", "在水洼上打水漂"),
        ("danced {manner} in a circle", "{manner}转着圈跳舞"),
    ]),
    Kind("storm", 3, "", "", "A:angry", [
        ("kicked a bucket across the path", "把水桶一脚踢到了路那边"),
        ("~stubbed a toe on a root and shouted at it", "踢到了树根，气得冲它大叫"),
        ("~broke a bootlace and sat down in a temper", "鞋带断了，一屁股坐在地上生闷气"),
    ]),
    # --- a bare name, whose type only knowledge or memory can tell ---------------------------------------------------
    Kind("think_of", 6, "", "", "", [
        ("thought of {X}", "想起了{X}"),
        ("~could not stop thinking of {X}", "怎么也忘不了{X}"),
        ("~dreamed of {X}", "梦见了{X}"),
        ("wrote the name {X} in the dust", "在尘土上写下了{X}这个名字"),
    ]),
    Kind("draw", 2, "", "", "", [
        ("drew a picture of {X}", "画了一张画，画的是{X}"),
        ("wrote a letter about {X}", "写了一封信，说的都是{X}"),
        ("made a song about {X}", "为{X}编了一首歌"),
    ]),
    Kind("worry", 3, "", "", "A:sad", [
        ("worried about {X}", "为{X}担心"),
        ("~sighed at the thought of {X}", "想到{X}，叹了口气"),
        ("~grew sad whenever somebody spoke of {X}", "一听人说起{X}就难过"),
    ]),
    Kind("ask_about", 6, "B:here", "", "", [
        ("told {B} about {X}", "跟{B}说起{X}"),
        ("asked {B} about {X}", "向{B}打听{X}"),
        ("described {X} to {B}", "向{B}描述{X}"),
        ("~wanted to know everything about {X}, and asked {B}", "想知道{X}的一切，就去问{B}"),
    ]),
]  # fmt: skip

CLOSING_KINDS = [
    Kind("end", 10, "", "", "", [
        ("went home for supper", "回家吃晚饭去了"),
        ("went home when the lamps were lit", "在华灯初上时回了家"),
        ("=and that is all that is known about {Ao}", "=关于{Ao}，大家知道的就是这些"),
        ("said goodnight to everybody", "跟大家道了晚安"),
        ("was asleep before the stars came out", "星星还没出来就睡着了"),
    ]),
    Kind("end_happy", 8, "A:happy", "", "", [
        ("went home smiling", "笑着回家了"),
        ("=it was the best day {A} could remember", "=这是{Ao}记忆中最好的一天"),
        ("could not stop humming", "忍不住一直哼着歌"),
    ]),
    Kind("end_sad", 8, "A:sad", "", "", [
        ("walked home slowly, looking at the ground", "低着头慢慢走回了家"),
        ("cried a little before going to sleep", "睡前哭了一会儿"),
        ("looked back once and sighed", "回头看了一眼，叹了口气"),
    ]),
    Kind("end_angry", 8, "A:angry", "", "", [
        ("stamped all the way home", "一路跺着脚回了家"),
        ("went home and slammed the door", "回到家，砰地关上了门"),
        ("did not say goodbye to anyone", "跟谁也没说再见"),
    ]),
    Kind("end_scared", 8, "A:scared", "", "", [
        ("ran home without looking back", "头也不回地跑回了家"),
        ("kept a light burning all night", "整夜都点着灯"),
        ("pulled the blanket over {his} head that night", "那天夜里用被子蒙住了头"),
    ]),
]  # fmt: skip

# The easy level: these kinds only, each with its first form.
EASY = (
    "begin", "go", "go_together", "meet", "find_new", "give", "take", "put_down", "pick_up", "fetch", "feel", "eat",
    "game", "end", "end_happy", "end_sad", "end_angry", "end_scared",
)  # fmt: skip
