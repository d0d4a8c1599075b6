"""The words of Storyworld: people, places, things and the small change of a story, in English and in Chinese.

The order of each table is its frequency rank, most frequent first; the easy level uses only the first entries. Many
words belong to two classes on purpose: Rose and a rose, Florence who lives in Florence, an olive, olive, and Olive. In
Chinese the two are sometimes told apart (弗洛伦丝, 佛罗伦萨) and sometimes not (奥斯汀), as in life. Some English
words share one Chinese word, so that no translator can always know which one was meant. Spelling is British.
"""

from typing import NamedTuple


class Name(NamedTuple):
    """A given name. ``gender`` is "f" or "m"; no two people share an English or a Chinese form."""

    en: str
    gender: str
    zh: str


class Thing(NamedTuple):
    """Something that one can carry. ``measure`` stands in 一 + measure + noun; ``named`` things may bear a name."""

    en: str
    zh: str
    measure: str
    named: bool


class Place(NamedTuple):
    """Where things happen: ``prep`` + ``en``; in Chinese 在 + ``zh`` + ``locative``, while 去 takes ``zh`` alone."""

    en: str
    prep: str
    zh: str
    locative: str


class Pair(NamedTuple):
    """One phrase in both languages."""

    en: str
    zh: str


def _rows(table: str, width: int) -> list[list[str]]:
    """Split a table, one entry a line and fields between bars, and check that each entry has ``width`` fields."""
    rows = [[field.strip() for field in line.split("|")] for line in table.strip().splitlines()]
    for row in rows:
        if len(row) != width:
            raise ValueError(f"table entry {' | '.join(row)!r} has {len(row)} fields; it should have {width}")
    return rows


def _pairs(table: str) -> tuple[Pair, ...]:
    return tuple(Pair(*row) for row in _rows(table, 2))


_NAMES = """
Lily | f | 莉莉
Tom | m | 汤姆
Rose | f | 罗丝
Peter | m | 彼得
Anna | f | 安娜
Jack | m | 杰克
Daisy | f | 黛西
Leo | m | 利奥
Emma | f | 艾玛
Sam | m | 山姆
Mia | f | 米娅
Max | m | 麦克斯
Mason | m | 梅森
Verona | f | 薇罗娜
Finn | m | 芬恩
Fern | f | 弗恩
Theo | m | 西奥
Milan | m | 米兰
Kevin | m | 凯文
David | m | 大卫
Agnes | f | 阿格尼丝
Violet | f | 维奥莱特
Hugo | m | 雨果
Jay | m | 杰伊
Penny | f | 佩妮
Page | f | 佩奇
Mabel | f | 梅布尔
Haoran | m | 浩然
Ted | m | 特德
Cherry | f | 切莉
Stew | m | 斯图
Greta | f | 葛丽塔
Lincoln | m | 林肯
Noah | m | 诺亚
Sarah | f | 萨拉
Xiaoming | m | 小明
Maggie | f | 玛吉
Xiaolong | m | 小龙
Gene | m | 吉恩
Linda | f | 琳达
Grant | m | 格兰特
Elsa | f | 埃尔莎
Eleanor | f | 埃莉诺
Junjie | m | 俊杰
Woody | m | 伍迪
Hazel | f | 黑兹尔
Vera | f | 薇拉
Philip | m | 菲利普
Edith | f | 伊迪丝
Jenny | f | 珍妮
Orlando | m | 奥兰多
Jordan | m | 乔丹
Louis | m | 路易斯
Kate | f | 凯特
Florence | f | 弗洛伦丝
Pat | m | 帕特
Baker | m | 贝克
Lanlan | f | 兰兰
Jasmine | f | 贾丝明
Rocky | m | 洛奇
Walker | m | 沃克
Eve | f | 伊芙
Pearl | f | 珀尔
Fiona | f | 菲奥娜
Wendy | f | 温迪
Xiaoyu | f | 小雨
Sydney | f | 西德妮
Archer | m | 阿彻
Alfred | m | 阿尔弗雷德
Iris | f | 艾瑞丝
Stella | f | 斯特拉
Nelson | m | 纳尔逊
Hector | m | 赫克托
Oscar | m | 奥斯卡
Flint | m | 弗林特
Lele | m | 乐乐
Ella | f | 埃拉
Dale | m | 戴尔
Harry | m | 哈里
Heath | m | 希斯
Edward | m | 爱德华
Summer | f | 萨默
Dahai | m | 大海
Marcus | m | 马库斯
Georgia | f | 乔治娅
Chester | m | 切斯特
Reed | m | 里德
Jingjing | f | 晶晶
Matilda | f | 玛蒂尔达
Lucy | f | 露西
Bella | f | 贝拉
Austin | m | 奥斯汀
Rich | m | 里奇
Lihua | f | 丽华
Victoria | f | 维多利亚
Vienna | f | 维耶娜
Oliver | m | 奥利弗
Kent | m | 肯特
James | m | 詹姆斯
Yuting | f | 雨婷
Rob | m | 罗布
Hope | f | 霍普
Caixia | f | 彩霞
Phoenix | m | 菲尼克斯
Samuel | m | 塞缪尔
Zack | m | 扎克
Cliff | m | 克利夫
Felix | m | 菲利克斯
Glen | m | 格伦
Merry | f | 梅丽
Diana | f | 黛安娜
Nina | f | 尼娜
Carlisle | m | 卡莱尔
Mingyue | f | 明月
Meiling | f | 美玲
Carol | f | 卡萝尔
Laura | f | 劳拉
Benjamin | m | 本杰明
Skip | m | 斯基普
Lena | f | 莉娜
Thomas | m | 托马斯
Madison | f | 麦迪逊
Walter | m | 沃尔特
Martha | f | 玛莎
Megan | f | 梅根
Savannah | f | 萨凡娜
Molly | f | 莫莉
Will | m | 威尔
Star | f | 斯塔
Colin | m | 科林
Rupert | m | 鲁珀特
Grace | f | 格蕾丝
Xinyi | f | 欣怡
Charlotte | f | 夏洛特
Bud | m | 巴德
Mark | m | 马克
Olive | f | 奥丽芙
Zixuan | m | 子轩
Emily | f | 艾米丽
Virginia | f | 弗吉尼娅
Nora | f | 诺拉
Clara | f | 克拉拉
Tiantian | f | 甜甜
Nancy | f | 南希
Paris | f | 帕丽斯
Gale | f | 盖尔
Ivy | f | 艾薇
Lance | m | 兰斯
Zhiyuan | m | 志远
Rachel | f | 蕾切尔
Fangfang | f | 芳芳
Earl | m | 厄尔
Siena | f | 西耶娜
Nick | m | 尼克
Ruth | f | 露丝
Joy | f | 乔伊
Chase | m | 蔡斯
Poppy | f | 波比
Drake | m | 德雷克
Susan | f | 苏珊
Edgar | m | 埃德加
Jim | m | 吉姆
Rita | f | 丽塔
Art | m | 阿特
June | f | 朱恩
Valencia | f | 瓦伦西娅
Jianguo | m | 建国
Kitty | f | 凯蒂
May | f | 梅伊
Alexandria | f | 亚历珊德里娅
Hannah | f | 汉娜
Toby | m | 托比
Dawn | f | 道恩
Piper | f | 派珀
Lane | m | 莱恩
Arthur | m | 亚瑟
Ruby | f | 露比
Faith | f | 费丝
Heather | f | 希瑟
Nathan | m | 内森
Ginger | f | 金洁
Holly | f | 霍莉
Candy | f | 坎迪
Amber | f | 安珀
Hunter | m | 亨特
Julia | f | 朱莉娅
Miles | m | 迈尔斯
Basil | m | 巴兹尔
Isaac | m | 艾萨克
Duke | m | 杜克
Chip | m | 奇普
Isabel | f | 伊莎贝尔
Sage | f | 赛吉
Josh | m | 乔希
Ash | m | 阿什
Drew | m | 德鲁
Daniel | m | 丹尼尔
Bill | m | 比尔
Willow | f | 薇洛
Harriet | f | 哈丽雅特
Rusty | m | 拉斯蒂
Rowan | m | 罗温
Chelsea | f | 切尔西
Xiaohong | f | 小红
Dawei | m | 大伟
Victor | m | 维克托
Clay | m | 克雷
Sofia | f | 索菲娅
Teddy | m | 泰迪
Mercy | f | 默西
Otto | m | 奥托
Simon | m | 西蒙
Dorothy | f | 多萝西
Ray | m | 雷伊
Sandy | f | 桑迪
Ethan | m | 伊桑
Dallas | m | 达拉斯
Henry | m | 亨利
Darwin | m | 达尔文
Wren | f | 蕾恩
Cooper | m | 库珀
Bob | m | 鲍勃
Brook | f | 布鲁克
Adelaide | f | 阿德莱德
Devon | m | 戴文
Robin | m | 罗宾
Dean | m | 迪安
Alice | f | 爱丽丝
Dot | f | 多特
Frank | m | 弗兰克
Ivan | m | 伊万
Lucas | m | 卢卡斯
Maya | f | 玛雅
Melody | f | 梅洛迪
April | f | 艾普莉尔
Tina | f | 蒂娜
Winnie | f | 温妮
Zoe | f | 佐伊
Mary | f | 玛丽
"""

_THINGS = """
ball | 皮球 | 个 | -
book | 书 | 本 | -
kite | 风筝 | 只 | named
hat | 帽子 | 顶 | -
key | 钥匙 | 把 | -
apple | 苹果 | 个 | -
lamp | 台灯 | 盏 | -
rose | 玫瑰 | 朵 | -
drum | 小鼓 | 面 | -
teddy bear | 玩具熊 | 只 | named
umbrella | 雨伞 | 把 | -
letter | 信 | 封 | -
shield | 盾牌 | 面 | -
magnet | 磁铁 | 块 | -
saw | 锯子 | 把 | -
toy monkey | 玩具猴子 | 只 | named
jar | 罐子 | 个 | -
broom | 扫帚 | 把 | -
belt | 腰带 | 条 | -
postcard | 明信片 | 张 | -
fishing rod | 鱼竿 | 根 | -
wooden horse | 木马 | 匹 | named
reed | 芦苇 | 根 | -
diary | 日记本 | 本 | -
toy rabbit | 玩具兔子 | 只 | named
thimble | 顶针 | 个 | -
chain | 链子 | 条 | -
crystal ball | 水晶球 | 个 | -
scarf | 围巾 | 条 | -
paper star | 纸星星 | 颗 | -
flint | 打火石 | 块 | -
cup | 杯子 | 个 | -
daisy | 雏菊 | 朵 | -
rubber duck | 橡皮鸭 | 只 | named
paper boat | 纸船 | 只 | named
bell | 铃铛 | 个 | -
brooch | 胸针 | 枚 | -
parcel | 包裹 | 个 | -
sock | 袜子 | 只 | -
telescope | 望远镜 | 架 | -
ruler | 尺子 | 把 | -
towel | 毛巾 | 条 | -
blanket | 毯子 | 条 | -
radio | 收音机 | 台 | -
tulip | 郁金香 | 朵 | -
photo | 照片 | 张 | -
tin soldier | 锡兵 | 个 | named
magnifying glass | 放大镜 | 个 | -
strawberry | 草莓 | 颗 | -
lily | 百合花 | 朵 | -
pinecone | 松果 | 个 | -
coin | 硬币 | 枚 | -
spinning top | 陀螺 | 个 | -
pen | 钢笔 | 支 | -
paintbrush | 画笔 | 支 | -
orange | 橙子 | 个 | -
card | 卡片 | 张 | -
rope | 绳子 | 根 | -
mug | 杯子 | 个 | -
screwdriver | 螺丝刀 | 把 | -
racket | 球拍 | 支 | -
seed | 种子 | 颗 | -
bucket | 水桶 | 个 | -
vase | 花瓶 | 个 | -
medal | 奖章 | 枚 | -
note | 纸条 | 张 | -
flowerpot | 花盆 | 个 | -
brush | 刷子 | 把 | -
wooden duck | 木鸭子 | 只 | named
rake | 耙子 | 把 | -
peach | 桃子 | 个 | -
crown | 王冠 | 顶 | -
magazine | 杂志 | 本 | -
pumpkin | 南瓜 | 个 | -
shell | 贝壳 | 个 | -
birdcage | 鸟笼 | 个 | -
fan | 扇子 | 把 | -
chestnut | 栗子 | 颗 | -
tray | 托盘 | 个 | -
toy robot | 玩具机器人 | 个 | named
bracelet | 手镯 | 只 | -
acorn | 橡子 | 颗 | -
newspaper | 报纸 | 份 | -
painting | 油画 | 幅 | -
map | 地图 | 张 | -
paper crane | 纸鹤 | 只 | named
stamp | 邮票 | 枚 | -
button | 纽扣 | 颗 | -
boot | 靴子 | 只 | -
cape | 斗篷 | 件 | -
cloak | 斗篷 | 件 | -
torch | 手电筒 | 个 | -
model plane | 模型飞机 | 架 | named
fishing net | 渔网 | 张 | -
train ticket | 火车票 | 张 | -
backpack | 背包 | 个 | -
trumpet | 小号 | 把 | -
maple leaf | 枫叶 | 片 | -
violin | 小提琴 | 把 | -
poster | 海报 | 张 | -
flashlight | 手电筒 | 个 | -
flag | 旗子 | 面 | -
cane | 拐杖 | 根 | -
walking stick | 拐杖 | 根 | -
glove | 手套 | 只 | -
camera | 相机 | 台 | -
treasure map | 藏宝图 | 张 | -
bowl | 碗 | 个 | -
apron | 围裙 | 条 | -
whistle | 哨子 | 个 | -
dandelion | 蒲公英 | 朵 | -
pear | 梨子 | 个 | -
lantern | 灯笼 | 盏 | -
rag doll | 布娃娃 | 个 | named
crayon | 蜡笔 | 支 | -
fern | 蕨叶 | 片 | -
scarecrow | 稻草人 | 个 | named
stone | 石头 | 块 | -
gingerbread man | 姜饼人 | 个 | named
wand | 魔杖 | 根 | -
coat | 外套 | 件 | -
toy train | 玩具火车 | 列 | named
plate | 盘子 | 个 | -
quilt | 被子 | 床 | -
feather | 羽毛 | 根 | -
padlock | 挂锁 | 把 | -
tortoise | 乌龟 | 只 | named
eraser | 橡皮擦 | 块 | -
kettle | 烧水壶 | 把 | -
bow | 弓 | 张 | -
mushroom | 蘑菇 | 个 | -
clay bird | 泥塑小鸟 | 只 | named
olive | 橄榄 | 颗 | -
rock | 石头 | 块 | -
present | 礼物 | 件 | -
hen | 母鸡 | 只 | named
plum | 李子 | 个 | -
purse | 钱包 | 个 | -
pail | 水桶 | 个 | -
shoe | 鞋子 | 只 | -
fork | 叉子 | 把 | -
sunflower | 向日葵 | 朵 | -
sweater | 毛衣 | 件 | -
bud | 花苞 | 个 | -
wallet | 钱包 | 个 | -
cord | 绳子 | 根 | -
pan | 平底锅 | 口 | -
chess piece | 棋子 | 枚 | -
suitcase | 手提箱 | 个 | -
wooden robin | 木头知更鸟 | 只 | named
hammer | 锤子 | 把 | -
ribbon | 丝带 | 条 | -
banana | 香蕉 | 根 | -
puppet | 木偶 | 个 | named
compass | 指南针 | 个 | -
onion | 洋葱 | 个 | -
arrow | 箭 | 支 | -
walnut | 核桃 | 颗 | -
mask | 面具 | 个 | -
rucksack | 背包 | 个 | -
toy dinosaur | 玩具恐龙 | 只 | named
pearl | 珍珠 | 颗 | -
carrot | 胡萝卜 | 根 | -
fossil | 化石 | 块 | -
model boat | 模型船 | 艘 | named
slipper | 拖鞋 | 只 | -
toy elephant | 玩具大象 | 只 | named
iris | 鸢尾花 | 朵 | -
shovel | 铲子 | 把 | -
guitar | 吉他 | 把 | -
sponge | 海绵 | 块 | -
penny | 便士 | 枚 | -
cushion | 靠垫 | 个 | -
bottle | 瓶子 | 个 | -
axe | 斧头 | 把 | -
package | 包裹 | 个 | -
snail | 蜗牛 | 只 | named
horseshoe | 马蹄铁 | 块 | -
lemon | 柠檬 | 个 | -
kitten | 小猫 | 只 | named
oar | 船桨 | 支 | -
comb | 梳子 | 把 | -
balloon | 气球 | 个 | -
watch | 手表 | 块 | -
alarm clock | 闹钟 | 个 | -
teapot | 茶壶 | 把 | -
pencil | 铅笔 | 支 | -
music box | 八音盒 | 个 | -
dictionary | 字典 | 本 | -
flute | 笛子 | 支 | -
bag | 袋子 | 个 | -
candy | 糖果 | 颗 | -
marble | 弹珠 | 颗 | -
stool | 凳子 | 张 | -
ring | 戒指 | 枚 | -
fig | 无花果 | 个 | -
violet | 紫罗兰 | 朵 | -
basket | 篮子 | 个 | -
battery | 电池 | 节 | -
mirror | 镜子 | 面 | -
cherry | 樱桃 | 颗 | -
doll | 洋娃娃 | 个 | named
spoon | 勺子 | 把 | -
nail | 钉子 | 颗 | -
ruby | 红宝石 | 颗 | -
sack | 袋子 | 个 | -
necklace | 项链 | 条 | -
wooden sword | 木剑 | 把 | -
mitten | 手套 | 只 | -
poppy | 虞美人 | 朵 | -
pillow | 枕头 | 个 | -
gift | 礼物 | 件 | -
hamster | 仓鼠 | 只 | named
candle | 蜡烛 | 根 | -
"""

# A last field left empty means that 在 takes the Chinese name as it is: 在学校, 在巴黎.
_PLACES = """
the garden | in | 花园 | 里
the park | in | 公园 | 里
the kitchen | in | 厨房 | 里
the library | in | 图书馆 | 里
the beach | on | 海滩 | 上
the school | at | 学校 |
the market | at | 集市 | 上
the forest | in | 森林 | 里
Florence | in | 佛罗伦萨 |
the bus stop | at | 公交车站 |
the bathroom | in | 浴室 | 里
the cave | in | 山洞 | 里
the swimming pool | at | 游泳池 | 边
the hospital | in | 医院 | 里
the harbour | at | 港口 |
the playground | on | 操场 | 上
the cottage | in | 农舍 | 里
the bookshop | in | 书店 | 里
Adelaide | in | 阿德莱德 |
Shanghai | in | 上海 |
Verona | in | 维罗纳 |
the swamp | in | 沼泽 | 里
Orlando | in | 奥兰多 |
the terrace | on | 露台 | 上
the farm | on | 农场 | 里
Valencia | in | 巴伦西亚 |
Virginia | in | 弗吉尼亚 |
the circus | at | 马戏团 |
Madison | in | 麦迪逊 |
the garage | in | 车库 | 里
Darwin | in | 达尔文 |
the post office | at | 邮局 |
Alexandria | in | 亚历山大港 |
the church | in | 教堂 | 里
the roof | on | 屋顶 | 上
Phoenix | in | 凤凰城 |
the attic | in | 阁楼 | 上
the vineyard | in | 葡萄园 | 里
the inn | at | 旅店 | 里
Nancy | in | 南锡 |
the square | in | 广场 | 上
Reading | in | 雷丁 |
the island | on | 小岛 | 上
Beijing | in | 北京 |
Sofia | in | 索非亚 |
Siena | in | 锡耶纳 |
the crossroads | at | 十字路口 |
Dallas | in | 达拉斯 |
Nelson | in | 纳尔逊 |
the pier | on | 码头 | 上
Devon | in | 德文郡 |
the greenhouse | in | 温室 | 里
the theatre | in | 剧院 | 里
Bath | in | 巴斯 |
the meadow | in | 草地 | 上
the workshop | in | 作坊 | 里
Georgia | in | 格鲁吉亚 |
the jungle | in | 丛林 | 里
the waterfall | at | 瀑布 | 旁
the temple | in | 寺庙 | 里
Kent | in | 肯特郡 |
the windmill | at | 风车磨坊 | 旁
the lighthouse | in | 灯塔 | 里
Milan | in | 米兰 |
Carlisle | in | 卡莱尔 |
the field | in | 田野 | 里
the castle | in | 城堡 | 里
the fairground | at | 游乐场 |
the lake | at | 湖边 |
Austin | in | 奥斯汀 |
Lincoln | in | 林肯 |
Nice | in | 尼斯 |
the old mill | in | 老磨坊 | 里
the tower | in | 塔楼 | 里
the bakery | at | 面包店 |
the classroom | in | 教室 | 里
the tunnel | in | 隧道 | 里
the pond | at | 池塘 | 边
the balcony | on | 阳台 | 上
the mountaintop | on | 山顶 | 上
Sydney | in | 悉尼 |
Paris | in | 巴黎 |
the desert | in | 沙漠 | 里
the riverbank | on | 河边 |
the observatory | at | 天文台 |
Jordan | in | 约旦 |
Charlotte | in | 夏洛特 |
the toy shop | in | 玩具店 | 里
the teahouse | in | 茶馆 | 里
Chelsea | in | 切尔西 |
the station | at | 车站 |
the orchard | in | 果园 | 里
the treehouse | in | 树屋 | 里
the airport | at | 机场 |
the stable | in | 马厩 | 里
Cork | in | 科克 |
the village | in | 村子 | 里
the museum | in | 博物馆 | 里
the cinema | in | 电影院 | 里
Savannah | in | 萨凡纳 |
the cellar | in | 地窖 | 里
the stone bridge | on | 石桥 | 上
the courtyard | in | 院子 | 里
London | in | 伦敦 |
the barn | in | 谷仓 | 里
Vienna | in | 维也纳 |
Chester | in | 切斯特 |
the zoo | at | 动物园 |
Victoria | in | 维多利亚 |
the valley | in | 山谷 | 里
the well | at | 水井 | 边
the bedroom | in | 卧室 | 里
Rome | in | 罗马 |
"""

NAMES: tuple[Name, ...] = tuple(Name(*row) for row in _rows(_NAMES, 3))
THINGS: tuple[Thing, ...] = tuple(
    Thing(en, zh, measure, named == "named") for en, zh, measure, named in _rows(_THINGS, 4)
)
PLACES: tuple[Place, ...] = tuple(Place(*row) for row in _rows(_PLACES, 4))

# Names of toys and pets; some are also given names, some also things. Chinese gives the meaning, as a child would.
TOY_NAMES: tuple[Pair, ...] = _pairs("""
Pepper | 胡椒
Button | 纽扣
Biscuit | 饼干
Captain | 船长
Hope | 希望
Rusty | 铁锈
Snowball | 雪球
Ginger | 生姜
Jack | 杰克
Pudding | 布丁
Daisy | 小雏菊
Patch | 补丁
Whiskers | 小胡子
Star | 星星
Cocoa | 可可
Lightning | 闪电
Shadow | 影子
Duke | 公爵
Cloud | 云朵
Lucky | 阿福
Dot | 点点
General | 将军
Professor | 教授
Teddy | 泰迪
Bean | 豆豆
Peanut | 花生
Chip | 薯片
Noodle | 面条
Dumpling | 饺子
Muffin | 松饼
Honey | 蜜糖
Joy | 欢欢
Socks | 袜袜
Clover | 三叶草
Tiger | 老虎
Sandy | 沙沙
Scout | 侦察兵
Hero | 英雄
Bubbles | 泡泡
Moon | 月亮
""")

# They stand before nearly any thing one can carry. Some are also names (Amber, Olive, Sandy) or things (an orange).
ADJECTIVES: tuple[Pair, ...] = _pairs("""
red | 红色的
little | 小小的
blue | 蓝色的
old | 旧旧的
green | 绿色的
strange | 奇怪的
yellow | 黄色的
shiny | 亮闪闪的
pretty | 漂亮的
dusty | 满是灰尘的
white | 白色的
funny | 滑稽的
black | 黑色的
lovely | 可爱的
golden | 金色的
heavy | 沉甸甸的
silver | 银色的
dirty | 脏兮兮的
pink | 粉红色的
brand-new | 崭新的
brown | 棕色的
muddy | 沾满泥巴的
purple | 紫色的
wet | 湿漉漉的
orange | 橙色的
crooked | 歪歪扭扭的
grey | 灰色的
mysterious | 神秘的
amber | 琥珀色的
huge | 巨大的
sandy | 沾满沙子的
precious | 珍贵的
olive | 橄榄绿的
sticky | 黏糊糊的
plain | 普普通通的
magic | 有魔法的
cold | 冰凉的
wonderful | 奇妙的
scruffy | 破破烂烂的
ugly | 难看的
colourful | 五颜六色的
light | 轻巧的
striped | 带条纹的
warm | 暖乎乎的
spotted | 带斑点的
smelly | 臭烘烘的
rare | 罕见的
clean | 干干净净的
bright | 鲜艳的
expensive | 昂贵的
pale | 浅色的
cheap | 便宜的
dark | 深色的
elegant | 精致的
slippery | 滑溜溜的
famous | 有名的
splendid | 华丽的
faded | 褪了色的
peculiar | 古怪的
beloved | 心爱的
""")

# After "was" and "felt"; the Chinese is a whole predicate, straight after its subject.
FEELINGS: dict[str, tuple[Pair, ...]] = {
    "happy": _pairs("""
happy | 很高兴
delighted | 高兴极了
proud | 很得意
over the moon | 乐开了花
cheerful | 心情愉快
merry | 乐呵呵的
as happy as a lark | 开心得像只小鸟
thrilled | 激动不已
full of joy | 心里充满了喜悦
contented | 心满意足
"""),
    "sad": _pairs("""
sad | 很难过
lonely | 很孤单
unhappy | 很不开心
miserable | 难过极了
close to tears | 快要哭了
gloomy | 闷闷不乐
heartbroken | 伤心欲绝
disappointed | 很失望
blue | 心情忧郁
downcast | 垂头丧气
"""),
    "angry": _pairs("""
angry | 很生气
cross | 有点恼火
furious | 气坏了
grumpy | 气呼呼的
annoyed | 很烦躁
hopping mad | 气得直跳脚
outraged | 火冒三丈
fed up | 忍无可忍
bitter | 愤愤不平
irritated | 憋了一肚子气
"""),
    "scared": _pairs("""
scared | 很害怕
frightened | 吓坏了
nervous | 很紧张
afraid | 有些害怕
terrified | 怕得要命
uneasy | 心里发毛
weak at the knees | 两腿发软
anxious | 忐忑不安
cold with fear | 吓得浑身发冷
panicky | 惊慌失措
"""),
}

# After "ate" and "shared".
FOODS: tuple[Pair, ...] = _pairs("""
a bowl of noodle soup | 一碗汤面
a slice of cake | 一块蛋糕
a pancake | 一张煎饼
a bowl of rice | 一碗米饭
a cheese sandwich | 一个奶酪三明治
a plate of noodles | 一盘面条
a bunch of grapes | 一串葡萄
a plate of dumplings | 一盘饺子
a boiled egg | 一个煮鸡蛋
an apple pie | 一个苹果派
a piece of cheese | 一块奶酪
a steamed bun | 一个包子
a honey cake | 一块蜂蜜糕
a baked potato | 一个烤土豆
a bag of nuts | 一袋坚果
a bowl of porridge | 一碗燕麦粥
a ginger biscuit | 一块姜味饼干
a chocolate bar | 一块巧克力
a rice ball | 一个饭团
a handful of raisins | 一把葡萄干
a jam tart | 一个果酱馅饼
a slice of melon | 一片甜瓜
a spring roll | 一个春卷
a pot of stew | 一锅炖菜
a mooncake | 一个月饼
""")

# Those that chase, steal and follow. A robin and a jay are also people.
ANIMALS: tuple[Pair, ...] = _pairs("""
a dog | 一条狗
a cat | 一只猫
a goose | 一只鹅
a fox | 一只狐狸
a monkey | 一只猴子
a crow | 一只乌鸦
a goat | 一只山羊
a squirrel | 一只松鼠
a pig | 一头猪
a robin | 一只知更鸟
a donkey | 一头驴
a magpie | 一只喜鹊
a cow | 一头奶牛
a jay | 一只松鸦
a hedgehog | 一只刺猬
a seagull | 一只海鸥
a swan | 一只天鹅
a badger | 一只獾
a turkey | 一只火鸡
a bear | 一头熊
""")

# After "heard".
SOUNDS: tuple[Pair, ...] = _pairs("""
a loud bang | 一声巨响
a soft knock | 一阵轻轻的敲门声
a strange whistle | 一声奇怪的口哨
a burst of laughter | 一阵笑声
heavy footsteps | 一阵沉重的脚步声
a long howl | 一声长长的嚎叫
a faint cry | 一阵微弱的哭声
a clap of thunder | 一声响雷
a deep growl | 一声低沉的吼叫
a rustle of leaves | 一阵树叶的沙沙声
distant drums | 一阵遥远的鼓声
a ringing bell | 一阵清脆的铃声
""")

# After "played" and 玩.
GAMES: tuple[Pair, ...] = _pairs("""
hide-and-seek | 捉迷藏
tag | 追人游戏
cards | 纸牌
hopscotch | 跳房子
marbles | 弹珠
leapfrog | 跳山羊
pirates | 海盗游戏
dominoes | 多米诺骨牌
charades | 你演我猜
detectives | 侦探游戏
tug-of-war | 拔河
noughts and crosses | 井字棋
""")

# After "a song about".
SONG_TOPICS: tuple[Pair, ...] = _pairs("""
the moon | 月亮
the sea | 大海
the stars | 星星
spring | 春天
old friends | 老朋友
summer | 夏天
the north wind | 北风
hope | 希望
a brave mouse | 一只勇敢的老鼠
the first snow | 第一场雪
the month of May | 五月
a king with no shoes | 一个没有鞋子的国王
""")

# After "counted to" and 数到.
NUMBERS: tuple[Pair, ...] = _pairs("""
ten | 十
three | 三
five | 五
a hundred | 一百
twenty | 二十
two | 二
four | 四
seven | 七
six | 六
eight | 八
nine | 九
twelve | 十二
fifty | 五十
eleven | 十一
fifteen | 十五
thirteen | 十三
eighteen | 十八
fourteen | 十四
sixteen | 十六
seventeen | 十七
nineteen | 十九
""")

# Openers in the middle of a story, before any event. Six Chinese openers have two English ones each.
TIMES: tuple[Pair, ...] = _pairs("""
Then | 然后
Suddenly | 忽然
Soon | 不久
A little later | 过了一会儿
After that | 然后
Just then | 就在这时
The next day | 第二天
After lunch | 午饭后
That evening | 那天晚上
All at once | 忽然
Before long | 不久
An hour later | 一个小时后
At that moment | 就在这时
After a while | 过了一会儿
As luck would have it | 说来也巧
In the afternoon | 下午
The following day | 第二天
Much later | 过了很久
Before supper | 晚饭前
A few minutes later | 几分钟后
When the sun came out | 太阳出来的时候
Two days later | 两天后
In no time | 一转眼
At noon | 中午
When the clock struck three | 时钟敲响三点的时候
Towards evening | 傍晚时分
""")

# How a story begins. Three of them hold a month that is also a name, one an Eve.
OPENINGS: tuple[Pair, ...] = _pairs("""
One day | 有一天
One rainy morning | 一个下雨的早晨
One sunny afternoon | 一个晴朗的下午
Long ago | 很久以前
Early one morning | 一天清晨
One winter night | 一个冬天的夜晚
One day in April | 四月的一天
Last summer | 去年夏天
One windy day | 刮大风的一天
One Sunday | 一个星期天
Late one night | 一天深夜
One snowy day | 一个下雪天
One morning in May | 五月的一个早晨
On the first day of school | 开学第一天
One foggy morning | 一个大雾弥漫的早晨
On market day | 赶集那天
One night in June | 六月的一个夜晚
On the last day of the holidays | 假期的最后一天
At the end of winter | 冬天快要结束的时候
On New Year's Eve | 新年前夜
""")

# At the end of the English verb phrase, before the Chinese verb.
MANNERS: tuple[Pair, ...] = _pairs("""
carefully | 小心地
quickly | 飞快地
quietly | 悄悄地
slowly | 慢慢地
with a smile | 微笑着
happily | 高兴地
gently | 轻轻地
without a word | 一声不响地
secretly | 偷偷地
at once | 立刻
proudly | 得意地
in a hurry | 匆匆忙忙地
eagerly | 急切地
on tiptoe | 踮着脚
bravely | 勇敢地
with a sigh | 叹着气
politely | 有礼貌地
nervously | 紧张地
patiently | 耐心地
clumsily | 笨手笨脚地
with a yawn | 打着哈欠
cheerfully | 乐呵呵地
with a frown | 皱着眉头
sleepily | 睡眼惺忪地
""")

# After "hid it" and 把它藏在.
HIDING: tuple[Pair, ...] = _pairs("""
under a pile of leaves | 一堆树叶下面
behind a big rock | 一块大石头后面
inside an old box | 一个旧箱子里
under the rug | 地毯下面
behind the curtain | 窗帘后面
in a hollow tree | 一棵空心树里
under a loose board | 一块松动的木板下面
behind a bush | 一丛灌木后面
in a dusty drawer | 一个积满灰尘的抽屉里
on a high shelf | 一个高高的架子上
in a deep hole | 一个深深的洞里
in a clay pot | 一个陶罐里
beneath a bench | 一张长凳下面
behind a heavy door | 一扇厚重的门后面
""")
