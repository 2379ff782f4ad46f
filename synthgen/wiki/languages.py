"""Words of MediaWiki that differ by language: redirects, disambiguation, names of files and categories.

All languages are tried on every page, whatever its dump says of its own: wikis borrow names from each other,
and a word of one language does not occur as the markup of another. Sources: MediaWiki's message files
(``languages/messages``), and the lists of disambiguation templates that each wiki keeps for its software.
"""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


#: What follows ``#`` at the start of a redirect, without regard to case.
REDIRECT_WORDS = _words(
    """
    redirect weiterleitung redirection redirección redireccion rinvia rinvio redirecionamento
    doorverwijzing patrz przekieruj tam перенаправление перенапр 転送 リダイレクト 重定向
    omdirigering تحويل הפניה
    넘겨주기 přesměruj ohjaus uudelleenohjaus átirányítás yönlendirme yönlendi̇rme перенаправлення đổi alih
    lencong تغییر_مسیر تغییرمسیر redirecteaza пренасочване виж преусмери preusmjeri preusmeri preusmeritev
    presmeruj ανακατευθυνση เปลี่ยนทาง पुनर्प्रेषित पुनर्निर्देशन পুনর্নির্দেশ suuna peradresavimas
    alidirektu birzuzendu birbideratu გადამისამართება վերահղում վերահղել istiqamətləndirmə айдау
    перанакіраванне пренасочување வழிமாற்று దారిమార్పు തിരിച്ചുവിടുക رجوع_مکرر aanstuur tilvísun
    athsheoladh ail-cyfeirio adkas ridrejto redirección_de redirecció przekierowanie
    """
)

#: Names of templates that make a page one of disambiguation; ``_`` stands for a blank.
DISAMBIGUATION_TEMPLATES = _words(
    """
    disambiguation disambig disamb dab disambiguation_page disambiguation_cleanup disambig-cleanup
    dab-cleanup hndis hndis-cleanup human_name_disambiguation geodis geodab geo-dis
    place_name_disambiguation airport_disambiguation airport_disambig callsign_disambiguation
    call_sign_disambiguation chinese_title_disambiguation genus_disambiguation hospital_disambiguation
    species_latin_name_disambiguation species_latin_name_abbreviation_disambiguation latinnamedisambig
    letter_disambiguation letter-number_combination_disambiguation letter-numbercombdisambig
    mathematical_disambiguation mathematics_disambiguation mathdab military_unit_disambiguation
    mil-unit-dis music_disambiguation number_disambiguation numberdis opus_disambiguation opusdis
    biology_disambiguation phonetics_disambiguation political_party_disambiguation road_disambiguation
    roaddis roadis school_disambiguation schooldis station_disambiguation synagogue_disambiguation
    church_disambiguation taxonomic_authority_disambiguation taxonomy_disambiguation
    template_disambiguation title_and_name_disambiguation township_disambiguation caselaw_disambiguation
    portal_disambiguation wikipedia_disambiguation 2cc 3cc 4cc 2la 3la 4la tla-dab begriffsklärung
    begriffsklärungsseite bkl homonymie homonymes titres_homonymes toponymie patronymie unités_homonymes
    bateaux_homonymes sigle desambiguación desambiguacion desambig desamb desambiguação disambigua dp
    dpintro doorverwijspagina ujednoznacznienie неоднозначность многозначность однофамильцы
    список_однофамильцев aimai 曖昧さ回避 人名の曖昧さ回避 地名の曖昧さ回避 消歧义 消歧義 消歧义页
    消歧義頁 förgrening gren förgreningssida
    namnförgrening ortnamn-förgrening توضيح صفحة_توضيح פירושונים 동음이의 동음이의어 동명이인
    rozcestník täsmennyssivu
    egyért egyértelműsítő_lap anlam_ayrımı anlam_ayrım неоднозначність багатозначність định_hướng
    trang_định_hướng disambigasi disambiguasi ابهام‌زدایی ابهام_زدایی peker flertydig tvetydig
    desambiguació dezambiguizare dezambig пояснение вишезначна_одредница razdvojba αποσαφήνιση แก้กำกวม
    बहुविकल्पी_शब्द täpsustuslehekülg täpsustus daugiareikšmis nuorodinis nozīmju_atdalīšana
    rozlišovacia_stránka razločitev apartigilo argipen homónimos მრავალმნიშვნელოვანი բազմիմաստ
    բազմիմաստություն dəqiqləşdirmə айрық неадназначнасць discretiva
    """
)

#: Names of categories that do so, as regular expressions of the whole name; ``_`` stands for a blank.
DISAMBIGUATION_CATEGORIES = (
    r"(?:[\w-]{1,30}_){0,4}disambiguation_pages(?:_[\w-]{1,30}){0,6}",
    "disambiguations?",
    "begriffsklärung",
    "homonymie",
    "(?:wikipedia:)?desambiguación",
    "pagine_di_disambiguazione",
    "!?desambiguaç(?:ão|ões)(?:_[^|\\]]{1,60})?",
    "wikipedia:doorverwijspagina",
    "strony_ujednoznaczniające(?:_[^|\\]]{1,60})?",
    "(?:страницы_значений|многозначные_термины)(?:_[^|\\]]{1,60})?",
    "曖昧さ回避(?:_[^|\\]]{1,60})?",
    "(?:全部)?消歧[义義][页頁]?面?",
    "förgreningssidor(?:_[^|\\]]{1,60})?",
    "صفحات_توضيح(?:_[^|\\]]{1,60})?",
    "פירושונים",
)

#: Names of namespace 6 beside the English ones, with aliases that no dump names, by language. A name counts
#: in its own language only: ``Imagine:`` is Romanian for a file, and begins the title of an English article.
FILE_NAMES = {
    "de": ("datei", "bild"),
    "fr": ("fichier",),
    "es": ("archivo", "imagen"),
    "it": ("immagine",),
    "pt": ("ficheiro", "arquivo", "imagem"),
    "nl": ("bestand", "afbeelding"),
    "pl": ("plik", "grafika"),
    "ru": ("файл", "изображение"),
    "ja": ("ファイル", "画像"),
    "zh": ("文件", "檔案", "档案", "图像", "圖像"),
    "sv": ("fil", "bild"),
    "ar": ("ملف", "صورة"),
    "he": ("קובץ", "תמונה"),
    "ko": ("파일", "그림"),
    "cs": ("soubor",),
    "fi": ("tiedosto", "kuva"),
    "hu": ("fájl", "kép"),
    "tr": ("dosya", "resim"),
    "uk": ("файл", "зображення"),
    "vi": ("tập tin", "hình", "tập_tin"),
    "id": ("berkas", "gambar"),
    "fa": ("پرونده", "تصویر"),
    "no": ("fil", "bilde"),
    "da": ("fil", "billede"),
    "ca": ("fitxer", "imatge"),
    "ro": ("fișier", "imagine"),
    "bg": ("файл", "картинка"),
    "sr": ("датотека", "слика", "datoteka", "slika"),
    "hr": ("datoteka", "slika"),
    "el": ("αρχείο", "εικόνα"),
    "th": ("ไฟล์", "ภาพ"),
}

#: Names and aliases of namespace 14.
CATEGORY_NAMES = _words(
    """
    category kategorie catégorie categoría categoria categorie kategoria категория カテゴリ 分类
    分類 kategori
    تصنيف קטגוריה 분류 kategorie luokka kategória категорія thể_loại رده categoria categorie категорија
    kategorija κατηγορία หมวดหมู่ श्रेणी বিষয়শ্রেণী kategooria kategorio კატეგორია կատեգորիա kateqoriya
    санат катэгорыя பகுப்பு వర్గం വർഗ്ഗം flokkur catagóir categori kategorie rummad
    """
)

#: Prefixes of links to the same page in another language: the codes of Wikipedia's editions.
LANGUAGE_CODES = frozenset(
    _words("""
    aa ab ace ady af ak als alt am ami an ang ann anp ar arc ary arz as ast atj av avk awa ay az azb ba
    ban bar bat-smg bbc bcl bdr be be-tarask be-x-old bew bg bh bi bjn blk bm bn bo bpy br bs btm bug bxr
    ca cbk-zam cdo ce ceb ch cho chr chy ckb co cr crh cs csb cu cv cy da dag de dga din diq dsb dtp dty
    dv dz ee el eml en eo es et eu ext fa fat ff fi fiu-vro fj fo fon fr frp frr fur fy ga gag gan gcr gd
    gl glk gn gom gor got gpe gsw gu guc gur guw gv ha hak haw he hi hif ho hr hsb ht hu hy hyw hz ia iba
    id ie ig igl ii ik ilo inh io is it iu ja jam jbo jv ka kaa kab kaj kbd kbp kcg kg kge ki kj kk kl km
    kn knc ko koi kr krc ks ksh ku kus kv kw ky la lad lb lbe lez lfn lg li lij lld lmo ln lo lrc lt ltg
    lv lzh mad mai map-bms mdf mg mh mhr mi min mk ml mn mni mnw mo mos mr mrj ms mt mus mwl my myv mzn na
    nah nan nap nds nds-nl ne new ng nia nl nn no nov nqo nr nrm nso nup nv ny oc olo om or os pa pag pam
    pap pcd pcm pdc pfl pi pih pl pms pnb pnt ps pt pwn qu rki rm rmy rn ro roa-rup roa-tara rsk ru rue
    rup rw sa sah sat sc scn sco sd se sg sgs sh shi shn shy si simple sk skr sl sm smn sn so sq sr srn ss
    st stq su sv sw syl szl szy ta tay tcy tdd te tet tg th ti tig tk tl tly tn to tok tpi tr trv ts tt
    tum tw ty tyv udm ug uk ur uz ve vec vep vi vls vo vro wa war wo wuu xal xh xmf yi yo yue za zea zgh
    zh zh-classical zh-min-nan zh-yue zu
    """)
)
